"""Networks by name: an architecture and the arguments that make it, as the network_def of a bundle.

Each architecture's file holds its `PRESETS`; they are read without importing it, so that a list costs no torch.
"""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcam.errors import UsageError
from medcam.plugins import near


def preset(
    name: str,
    *,
    spatial_dims: int = 2,
    in_channels: int = 1,
    out_channels: int = 1,
    size: int | Sequence[int] | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> dict[str, Any]:
    """The network_def of a named network: JSON-able, and what `_network.build` and a bundle take.

    Args:
        name: one of `preset_names()`.
        spatial_dims: 2 or 3; networks of frames or patches look at each in two dimensions whatever this is.
        in_channels: image channels.
        out_channels: logits.
        size: pixels per axis that the network will see; only transformers have to know.
        dropout: share of features dropped before the logits while training.
        more: other arguments of the architecture; they replace the preset's own. `encoder` is the name of the network
            that looks at each frame or patch, or its "name" with arguments of its own.

    Raises:
        UsageError: "unknown-network", with near names.
    """
    known = presets()
    if name not in known:
        raise UsageError("unknown-network", f"There is no network {name!r}. {near(name, list(known))}")
    target, own = known[name]
    arguments = {**own, **more}
    general: dict[str, Any] = {"in_channels": in_channels, "out_channels": out_channels, "dropout": dropout}
    if "encoder" in arguments:
        frame = size if size is None or isinstance(size, int) else size[-2:]
        stated = arguments.pop("encoder")
        named = {"name": stated} if isinstance(stated, str) else dict(stated)
        encoder = preset(named.pop("name"), spatial_dims=2, size=frame, **general, **named)
        return {"_target_": target, **arguments, "encoder": encoder}
    if "size" in own and size is not None:
        arguments["size"] = size if isinstance(size, int) else list(size)
    return {"_target_": target, "spatial_dims": spatial_dims, **general, **arguments}


def preset_names() -> list[str]:
    """All named networks, sorted; nothing is imported."""
    return sorted(presets())


def presets() -> dict[str, tuple[str, dict[str, Any]]]:
    """By name: the dotted class and the arguments that make it that network."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
            (named,) = [one for one in classes if one.lower() == path.stem.replace("_", "")]
            for name, arguments in _table(body).items():
                found[name] = (f"medcam.models.{path.stem}.{named}", arguments)
    return found


def _table(body: list[ast.stmt]) -> dict[str, dict[str, Any]]:
    """The value of `PRESETS: ... = {...}` in a parsed file."""
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "PRESETS":
            assert node.value is not None
            table: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
            return table
    return {}
