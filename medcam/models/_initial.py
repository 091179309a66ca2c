"""Start from weights in a file: medcam's own, or a state dict of torchvision, timm or MONAI. Nothing is downloaded."""

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from medcam.errors import ModelError
from medcam.models._adapt import Adaptation, MisfitError
from medcam.models._layouts import CLASSIFIER, LAYOUTS, Layout

SOURCES = ("auto", "medcam", "torchvision", "timm", "monai")
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_OWN = Layout("medcam", lambda network, name: name)
_LAST = re.compile(r"(.*\.)?head\.(map\.weight|bias)")
"""The last layer of a network here."""


@dataclass(frozen=True)
class Report:
    """What became of a file's tensors."""

    source: str
    loaded: tuple[str, ...]
    """The network's tensors that were filled."""
    missing: tuple[str, ...]
    """The network's tensors that keep their random values: the last layer."""
    unexpected: tuple[str, ...]
    """The file's tensors that were left out: its own last layer."""
    adapted: tuple[str, ...]
    """In words: what was changed on the way, and where the network computes differently."""


def initialise(network: nn.Module, file: Path | str, source: str = "auto") -> Report:
    """Fill a network's weights from a file, all but the last layer, which answers another question.

    A network of frames or patches takes weights of its encoder. A stem for RGB becomes one for grey by summing, which
    for a grey image is the same. It is all or nothing: on an error the network is as it was.

    Args:
        network: one of this folder's, changed in place.
        file: `.safetensors`, or a pickle of tensors (`.pt`, `.pth`), which is read without running any code in it.
        source: whose names the tensors have: "medcam", "torchvision", "timm", "monai", or "auto" to see by the names.

    Raises:
        ModelError: "initial-file", it cannot be read; "initial-pickle", it would run code or has another format than
            its name says; "initial-layout", its names fit no known layout of this network; "initial-shape", its
            tensors do not fit; "not-finite", it holds NaN or infinity.
    """
    if source not in SOURCES:
        raise ModelError("initial-layout", f"There is no source {source!r}; it is one of {', '.join(SOURCES)}.")
    file = Path(file)
    state = _read(file)
    encoder = getattr(network, "encoder", None)
    if isinstance(encoder, nn.Module) and not set(network.state_dict()) & set(state):
        network = encoder
    sources, layout, names = _recognised(network, state, source, file)
    try:
        adaptation = Adaptation(network, layout, names, state)
    except MisfitError as error:
        raise ModelError("initial-shape", f"{file}: {error}; give the weights of this very network.") from error
    filled = adaptation.filled
    broken = [name for name, tensor in filled.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ModelError("not-finite", f"{file} holds NaN or infinity, first in {names[broken[0]]}; get it again.")
    own = network.state_dict()
    with torch.no_grad():
        for name, tensor in filled.items():
            own[name].copy_(tensor)
    return Report(
        source=sources,
        loaded=tuple(filled),
        missing=tuple(name for name in own if name not in filled and not name.endswith("num_batches_tracked")),
        unexpected=tuple(sorted(set(state) - adaptation.used)),
        adapted=tuple(adaptation.notes),
    )


def _recognised(
    network: nn.Module, state: Mapping[str, Tensor], source: str, file: Path
) -> tuple[str, Layout, dict[str, str]]:
    """Whose state dict it can be, its layout, and for each tensor of the network the name it has there."""
    kind = type(network).__name__
    layouts = [one for one in (_OWN, *LAYOUTS.get(kind, ())) if source in ("auto", one.source)]
    if not layouts:
        raise ModelError("initial-layout", f"No weights of {source} are known for {kind}; see --init in the guide.")
    tried = [(layout, *_matched(network, state, layout)) for layout in layouts]
    layout, names, absent, strange = min(tried, key=lambda one: len(one[2]) + len(one[3]))
    if absent or strange:
        said = f"{file} is nearest to {kind} as {layout.source} has it"
        said += f", but {len(absent)} of its tensors are missing, first {absent[0]}" if absent else ""
        said += f", but {len(strange)} tensors have no place in it, first {strange[0]}" if strange else ""
        raise ModelError("initial-layout", f"{said}; give the weights of this very network.")
    same = [one.source for one, found, *wrong in tried if found == names and not any(wrong)]
    return "/".join(dict.fromkeys(same)), layout, names


def _matched(
    network: nn.Module, state: Mapping[str, Tensor], layout: Layout
) -> tuple[dict[str, str], list[str], list[str]]:
    """Names there by names here; what is missing there; what has no place here."""
    own = network.state_dict()
    expected = {name: layout.renaming(network, name) for name in own}
    names = {name: theirs for name, theirs in expected.items() if theirs in state}
    last = [name for name in names if _LAST.fullmatch(name)]
    if layout is not _OWN or any(state[names[name]].shape != own[name].shape for name in last):
        names = {name: theirs for name, theirs in names.items() if name not in last}
    optional = re.compile(rf"{layout.optional}|.*num_batches_tracked" + rf"|{_LAST.pattern}" * (layout is not _OWN))
    absent = [theirs for name, theirs in expected.items() if theirs not in state and not optional.fullmatch(name)]
    left_out = re.compile(rf"{layout.ignored}|{CLASSIFIER}|.*num_batches_tracked")
    taken = set(expected.values())
    strange = [name for name in state if name not in taken and not left_out.fullmatch(name)]
    return names, absent, strange


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name."""
    try:
        with file.open("rb") as stream:
            head = stream.read(2)
    except OSError as error:
        raise ModelError("initial-file", f"{file} cannot be read ({error}); give a file of weights.") from error
    if file.suffix == ".safetensors":
        state: Mapping[str, object] = _safetensors(file, head)
    elif file.suffix in PICKLES:
        state = _unpickled(file)
    else:
        raise ModelError("initial-file", f"{file}: weights are .safetensors or {', '.join(PICKLES)} files.")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if all(name.startswith("module.") for name in tensors):  # saved from several devices at once, as MedicalNet's
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    if not tensors:
        raise ModelError("initial-file", f"{file} holds no tensors by name; save a state_dict.")
    return tensors


def _safetensors(file: Path, head: bytes) -> Mapping[str, object]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Mapping[str, object] = load_file(file)
    except SafetensorError as error:
        if head in (b"PK", b"\x80\x02", b"\x80\x04"):
            raise ModelError("initial-pickle", f"{file} is a pickle under another name; convert it.") from error
        raise ModelError("initial-file", f"{file} is not in safetensors format: {error}; get it again.") from error
    return tensors


def _unpickled(file: Path) -> Mapping[str, object]:
    """A pickle's tensors; nothing in it is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files written by other programs: they load, or they are refused
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            "initial-pickle", f"{file} holds more than tensors and could run code; save its state_dict as safetensors."
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ModelError("initial-file", f"{file} is damaged or no file of torch ({error}); get it again.") from error
    for key in ("state_dict", "model_state_dict", "model"):  # checkpoints of training programs
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return content if isinstance(content, Mapping) else {}
