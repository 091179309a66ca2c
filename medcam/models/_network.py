"""A network from a bundle's configuration, which is data: known classes, plain arguments, nothing that runs code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medcam.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

_ALLOWED = ("medcam.models", "monai.networks.nets")
_STEERING = ("_requires_", "_mode_", "_disabled_", "imports")  # keys by which MONAI's parser runs or skips things
_TRUST = "load it with --trust-code only if you trust whoever wrote it"


def build(config: Mapping[str, Any], trust_code: bool = False) -> nn.Module:
    """The network of a MONAI Bundle's inference configuration.

    Args:
        config: the whole parsed `configs/inference.json`; its "network_def" has a `_target_` and plain arguments.
        trust_code: let MONAI's own parser evaluate it: expressions, imports and any class.

    Raises:
        ModelError: "bundle-code", the configuration would run code; "bundle-config", it does not describe a network.
    """
    from torch import nn

    if not isinstance(config.get("network_def"), Mapping):
        raise ModelError("bundle-config", "configs/inference.json has no network_def; write one with a _target_.")
    if trust_code:
        from monai.bundle import ConfigParser

        network = ConfigParser(dict(config)).get_parsed_content("network_def")
    else:
        for key, value in _leaves(config):
            if (isinstance(value, str) and value.startswith(("$", "%"))) or key in _STEERING:
                raise ModelError("bundle-code", f"configs/inference.json would run code at {key!r}; {_TRUST}.")
        network = _made(config["network_def"])
    if not isinstance(network, nn.Module):
        raise ModelError("bundle-config", "network_def is not a torch.nn.Module; check its _target_.")
    return network


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name), str(name)
            yield from _leaves(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value


def _made(value: Any) -> Any:
    """`value` with every mapping that has a `_target_` replaced by the network it names."""
    if isinstance(value, list):
        return [_made(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    arguments = {str(name): _made(item) for name, item in value.items() if name not in ("_target_", "_desc_")}
    if "_target_" not in value:
        return arguments
    network = _known(str(value["_target_"]))
    if "pretrained" in inspect.signature(network).parameters:
        arguments["pretrained"] = False  # the bundle brings its weights; nothing is downloaded
    try:
        return network(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelError("bundle-config", f"{value['_target_']} does not take these arguments: {error}.") from error


def _known(target: str) -> type[nn.Module]:
    """The class that `target` names, if it is a network that medcam or MONAI itself defines."""
    from torch import nn

    name, _, attribute = target.rpartition(".")
    inside = any(name == package or name.startswith(f"{package}.") for package in _ALLOWED)
    if not inside or any(part.startswith("_") for part in target.split(".")):
        raise ModelError("bundle-code", f"{target} is not a network of {' or '.join(_ALLOWED)}; {_TRUST}.")
    try:
        found = getattr(importlib.import_module(name), attribute, None)
    except ImportError as error:
        raise ModelError("bundle-config", f"There is no {target}; check network_def.") from error
    if not (inspect.isclass(found) and issubclass(found, nn.Module) and found.__module__.startswith(_ALLOWED)):
        raise ModelError("bundle-code", f"{target} is not a network of {' or '.join(_ALLOWED)}; {_TRUST}.")
    return found
