"""Explain one image with one model: from a file or folder to a map on the image's own grid."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcam.errors import ModelError, UsageError
from medcam.explainers import explain
from medcam.explainers._picture import write_nifti
from medcam.models import load_bundle, load_model
from medcam.readers import Decoder, index
from medcam.study import Series
from medcam.transforms import compose, prepare


def explain_file(
    file: Path, model: str, out: Path, method: str, target: str, layer: str, transform: str | None, trust_code: bool
) -> list[Path]:
    """Write the map of one image, cine or series.

    Args:
        file: an image, or the folder of one series.
        model: a bundle's folder, or "module:factory".
        out: folder for what is written.
        method: a member of the explainers' shelf.
        target: "predicted", "all" or a class number.
        layer: a module's name, or "auto".
        transform: a member of the transforms' shelf, where the model is no medcam bundle.
        trust_code: allow code of the model's own.

    Returns:
        list[Path]: evidence as NIfTI, a picture, and a description with scores and geometry.

    Raises:
        UsageError: the file is not exactly one image that can be read.
        ModelError, ExplainError: the model or the map cannot be had.
    """
    with tempfile.TemporaryDirectory() as scratch, Decoder() as decoder:
        series = _one_series(file)
        pixels = decoder.pixels(series, Path(scratch))
        network, name, options = _model(model, transform, trust_code)
        prepared = prepare(pixels, compose(name, series.facts, **options))
        chosen: Any = target if target in ("predicted", "all") else _class(target)
        explained = explain(network, prepared.tensor, method, chosen, layer, grids=prepared.grids)
        out.mkdir(parents=True, exist_ok=True)
        written = []
        for row in range(len(prepared.grids)):
            for rank in range(explained.scores.shape[1]):
                record = explained.sample(row, rank)
                stem = f"{file.stem}_{method}_{record.target}" + (f"_tile{row}" if len(prepared.grids) > 1 else "")
                stem = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem)
                write_nifti(out / f"{stem}.nii.gz", record)
                explained.save(out / f"{stem}.png", row, rank)
                facts = record.to_dict({}) | {"score": float(explained.scores[row, rank]), "steps": prepared.steps}
                (out / f"{stem}.json").write_text(json.dumps(facts, indent=1) + "\n")
                written += [out / f"{stem}{suffix}" for suffix in (".nii.gz", ".png", ".json")]
        return written


def _one_series(file: Path) -> Series:
    intake = index(file)
    if len(intake.used) == 1:
        return intake.used[0]
    reasons = [str(one.reason) for one in intake.series if one.reason is not None]
    reasons += [str(one.reason) for one in intake.files if one.reason is not None]
    why = f" ({'; '.join(reasons[:3])})" if reasons and not intake.used else ""
    message = f"{file} holds {len(intake.used)} images or series{why}; name one image, or the folder of one series."
    raise UsageError("not-one-image", message)


def _model(spec: str, transform: str | None, trust_code: bool) -> tuple[Any, str, Mapping[str, Any]]:
    """The network, and how its input is made."""
    if ":" in spec and not Path(spec).is_dir():
        if not trust_code:
            raise UsageError("needs-trust", f"{spec} runs its own code; say --trust-code if it is yours.")
        if transform is None:
            raise UsageError(
                "needs-transform", "Say how the input is made: --transform xray, ct, ultrasound, histology."
            )
        return load_model(spec, trust_code=trust_code), transform, {}
    try:
        bundle = load_bundle(spec, trust_code=trust_code)
    except ModelError:
        if transform is None:
            raise
        return load_model(spec, trust_code=trust_code), transform, {}
    return bundle.model, transform or bundle.card.transform, bundle.card.transform_options if transform is None else {}


def _class(target: str) -> int:
    if not target.isdecimal():
        raise UsageError("bad-target", f"--target is predicted, all or a class number, not {target!r}.")
    return int(target)
