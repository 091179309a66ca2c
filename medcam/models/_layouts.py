"""What torchvision, timm and MONAI call the tensors of the networks here: from our name of a tensor to theirs."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from torch import nn

Renaming = Callable[[nn.Module, str], str]
"""From a network of ours and the name of one of its tensors to the other library's name."""
Rules = tuple[tuple[str, str], ...]
"""Regular expressions and what replaces them, in order; each at most once."""


@dataclass(frozen=True)
class Layout:
    """How one library names and computes one architecture."""

    source: str
    renaming: Renaming
    epsilon: float = 1e-5
    """Of its normalisation layers."""
    padding: str = "symmetric"
    optional: str = r"(?!)"
    """Tensors here that may be missing there, as a regular expression."""
    ignored: str = r"(?!)"
    """Tensors there that are not simply taken over, as a regular expression."""


def _replaced(name: str, rules: Rules) -> str:
    for pattern, by in rules:
        name = re.sub(pattern, by, name, count=1)
    return name


def _by(*rules: tuple[str, str]) -> Renaming:
    return lambda network, name: _replaced(name, rules)


def _head(name: str) -> Rules:
    return (r"^head\.map\.weight", f"{name}.weight"), (r"^head\.bias", f"{name}.bias")


def _stages(network: nn.Module) -> list[tuple[int, int]]:
    """Of each inverted residual, its stage and its number there: a stage's blocks give equally many channels."""
    blocks = network.get_submodule("blocks").children()
    widths = [block.get_submodule("layers.project.conv").out_channels for block in blocks]
    return [(stage, i) for stage, (_, same) in enumerate(groupby(widths)) for i, _ in enumerate(same)]


def _split(network: nn.Module, name: str) -> tuple[int, int, str, str, list[str]] | None:
    """An inverted residual's tensor: number of the block, position, layer, the rest, and all layers of the block."""
    found = re.fullmatch(r"blocks\.(\d+)\.layers\.(\w+)\.(.+)", name)
    if found is None:
        return None
    layers = [child for child, _ in network.get_submodule(f"blocks.{found[1]}.layers").named_children()]
    return int(found[1]), layers.index(found[2]), found[2], found[3], layers


def _torchvision(*ends: tuple[str, str], flat: bool = True, narrow: bool = False) -> Renaming:
    """Inverted residuals by number: `flat` without stages; `narrow` as in MobileNetV2, whose last layer is unrolled."""

    def renaming(network: nn.Module, name: str) -> str:
        stages = _stages(network)
        parts = _split(network, name)
        last = len(stages) + 1 if flat else stages[-1][0] + 2
        if parts is None:
            rules = (("^stem", "features.0"), ("^last", f"features.{last}"), (r"\.conv\.", ".0."), (r"\.norm\.", ".1."))
            return _replaced(name, (*ends, *rules))
        number, position, layer, rest, _ = parts
        place = f"{number + 1}" if flat else f"{stages[number][0] + 1}.{stages[number][1]}"
        block = f"features.{place}.{'conv' if narrow else 'block'}"
        if narrow and layer == "project":
            return f"{block}.{position + rest.startswith('norm')}.{rest.split('.')[1]}"
        names = (("^conv", "0"), ("^norm", "1"), ("^reduce", "fc1"), ("^expand", "fc2"))
        return f"{block}.{position}.{_replaced(rest, names)}"

    return renaming


def _timm(*ends: tuple[str, str]) -> Renaming:
    """Inverted residuals as timm's builder names them: layers by what they are, normalisations counted from 1."""

    def renaming(network: nn.Module, name: str) -> str:
        stages = _stages(network)
        parts = _split(network, name)
        if parts is None:
            last = (r"^last_block", f"blocks.{stages[-1][0] + 1}.0")
            return _replaced(name, (*ends, last, (r"^stem\.conv", "conv_stem"), (r"^stem\.norm", "bn1")))
        number, _, layer, rest, layers = parts
        block = f"blocks.{stages[number][0]}.{stages[number][1]}"
        if layer == "gate":
            return f"{block}.se.conv_{rest}"
        if rest.startswith("norm"):
            return f"{block}.bn{[one for one in layers if one != 'gate'].index(layer) + 1}.{rest.split('.')[1]}"
        narrowing = "conv_pwl" if "expand" in layers else "conv_pw"
        return f"{block}.{ {'expand': 'conv_pw', 'depthwise': 'conv_dw', 'project': narrowing}[layer] }.weight"

    return renaming


def _monai_efficientnet(network: nn.Module, name: str) -> str:
    parts = _split(network, name)
    if parts is None:
        ends = (("^stem.conv", "_conv_stem"), ("^stem.norm", "_bn0"), ("^last.conv", "_conv_head"))
        return _replaced(name, (*_head("_fc"), *ends, ("^last.norm", "_bn1")))
    number, _, layer, rest, _ = parts
    block = f"_blocks.{_stages(network)[number][0]}.{number}"
    if layer == "gate":
        return f"{block}._se_{rest}"
    if rest.startswith("norm"):
        return f"{block}._bn{('expand', 'depthwise', 'project').index(layer)}.{rest.split('.')[1]}"
    return f"{block}._{layer}_conv.weight"


_RESNET = _by(
    (r"^stem\.0", "conv1"),
    (r"^stem\.1", "bn1"),
    *((rf"^stages\.{number}\.", f"layer{number + 1}.") for number in range(8)),
    (r"downsample\.conv", "downsample.0"),
    (r"downsample\.adn\.N", "downsample.1"),
    *_head("fc"),
)
_VIT_TORCHVISION = _by(
    ("^patch_embedding", "conv_proj"),
    ("^position", "encoder.pos_embedding"),
    ("^cls_token", "class_token"),
    (r"^norm\.", "encoder.ln."),
    (r"^blocks\.", "encoder.layers.encoder_layer_"),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.out_proj", ".self_attention.out_proj"),
    (r"\.linear1\.", ".0."),
    (r"\.linear2\.", ".3."),
    *_head("heads.head"),
)
_VIT_TIMM = _by(
    ("^patch_embedding", "patch_embed.proj"),
    ("^position", "pos_embed"),
    (r"\.out_proj", ".proj"),
    (r"\.linear(\d)\.", r".fc\1."),
    *_head("head"),
)
_VIT_MONAI = _by(
    (r"^patch_embedding\.", "patch_embedding.patch_embeddings."),
    ("^position", "patch_embedding.position_embeddings"),
    *_head("classification_head"),
)
_OLDER = ((r"\.layers\.", "."), (r"\.(norm|conv)([12])\.", r".\1.\2."), *_head("classifier"))
_PLAIN_END = ((r"^last\.conv", "conv_head"), (r"^last\.norm", "bn2"), *_head("classifier"))
_WIDE_END = (
    (r"^last\.conv", "last_block.conv"),
    (r"^last\.norm", "last_block.bn1"),
    (r"^wide\.0", "conv_head"),
    *_head("classifier"),
)

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "ResNet": (
        Layout("torchvision", _RESNET),
        Layout("timm", _RESNET),
        Layout("monai", _RESNET, optional=r".*\.downsample\..*", ignored=r".*\.downsample\.0\.bias"),
    ),
    "DenseNet": (
        Layout("torchvision", _by((r"\.layers\.", "."), *_head("classifier"))),
        Layout("torchvision", _by(*_OLDER)),  # as the files that torchvision itself serves still are
        Layout("timm", _by((r"\.layers\.", "."), *_head("classifier"))),
        Layout("monai", _by(*_head("class_layers.out"))),
    ),
    "EfficientNet": (
        Layout("torchvision", _torchvision(*_head("classifier.1"), flat=False)),
        Layout("timm", _timm(*_PLAIN_END)),
        Layout("monai", _monai_efficientnet, epsilon=1e-3, padding="tensorflow"),
    ),
    "MobileNetV2": (
        Layout("torchvision", _torchvision(*_head("classifier.1"), narrow=True)),
        Layout("timm", _timm(*_PLAIN_END)),
    ),
    "MobileNetV3": (
        Layout("torchvision", _torchvision((r"^wide\.0", "classifier.0"), *_head("classifier.3")), epsilon=1e-3),
        Layout("timm", _timm(*_WIDE_END)),
    ),
    "ViT": (
        Layout("torchvision", _VIT_TORCHVISION, epsilon=1e-6, ignored="class_token"),
        Layout("timm", _VIT_TIMM, epsilon=1e-6, ignored="cls_token"),
        Layout(
            "monai",
            _VIT_MONAI,
            optional=r".*\.attn\.qkv\.bias",
            ignored=r"blocks\.\d+\.(norm_)?cross_attn\..*|cls_token",
        ),
    ),
}
"""By class: the layouts whose tensors can be taken over."""
CLASSIFIER = r"(fc|_fc|classifier(\.\d)?|class_layers\.out|heads?(\.head)?|classification_head(\.0)?)\.(weight|bias)"
"""The last layers of these libraries' networks, as a regular expression: they answer other questions."""
