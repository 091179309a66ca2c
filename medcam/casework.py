"""From a model's answer about one series to a case: regions, decision, key images and provenance."""

import functools
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam import __version__, display
from medcam.findings import Case, Explanation, KeyImage, Prediction, Provenance, Region, Uncertainty, decide
from medcam.grid import Grid
from medcam.models import Card, settings_digest
from medcam.pipeline import Pipeline
from medcam.regions.threshold import regions
from medcam.reliability import calibration
from medcam.results import Results
from medcam.selection import Task
from medcam.study import Pixels, Series

PHANTOM_MANUFACTURER = "medcam-toolkit"
"""Manufacturer of the phantoms: the only images about which a demonstration model may decide."""

WEAK = "weak evidence for this model: the region is cut at half of this series' own strongest evidence"
"""Note of a case that is flagged though nothing reaches the level at which regions are usually cut out."""

MOST_KEY_IMAGES = 3
OVERVIEW_PIXELS = 1400
"""Longer side of a slide's overview."""


@dataclass(frozen=True)
class ModelFacts:
    """What a case says about the model that scored it."""

    name: str
    version: str
    sha256: str
    """Of the weights."""
    settings: str
    """SHA-256 of its card and network definition."""
    demonstration: bool
    calibrated: bool = False
    """Whether its scores are stated as probabilities."""


def model_facts(bundle: Path, card: Card) -> ModelFacts:
    """Of a bundle's folder and its card."""
    calibrated = calibration.BLOB in card.blobs_sha256
    settings = settings_digest(bundle)
    return ModelFacts(card.name, card.version, card.weights_sha256, settings, card.demonstration, calibrated)


@dataclass(frozen=True)
class Answer:
    """What a model and an explainer said about one series."""

    prediction: Prediction
    uncertainty: Uncertainty
    explanation: Explanation
    steps: tuple[str, ...]


def build_case(
    results: Results, task: Task, pipeline: Pipeline, model: ModelFacts, answer: Answer, pixels: Pixels, device: str
) -> tuple[Case, dict[str, bytes]]:
    """The finished case, and its key images as PNG bytes by file name."""
    series = task.series
    explanation = answer.explanation
    found = regions(explanation, series.grid, pipeline.region_fraction)
    if not found and answer.prediction.score >= answer.prediction.threshold and explanation.evidence.max() > 0:
        weak = replace(explanation, display_range=(0.0, float(explanation.evidence.max())))
        found = regions(weak, series.grid, 0.5)
        explanation = replace(explanation, notes=(*explanation.notes, WEAK))
    if series.facts.get("FrameTimesFrom") == "none":  # the header states no frame rate: no seconds can be told
        found = tuple(replace(region, interval_s=None) for region in found)
    phantom = series.facts.get("Manufacturer", "") == PHANTOM_MANUFACTURER
    key_images, pictures = _key_images(series, pixels, explanation, found)
    case = Case(
        key=results.case_key(series, task.pipeline),
        study_key=results.study_key(series),
        patient_key=results.patient_key(series),
        pipeline=task.pipeline,
        question=pipeline.question,
        finding=pipeline.finding,
        modality=series.modality,
        kind=series.kind,
        facts=series.facts,
        grid=series.grid,
        phantom=phantom,
        prediction=answer.prediction,
        uncertainty=answer.uncertainty,
        explanation=explanation,
        regions=found,
        decision=decide(answer.prediction, answer.uncertainty, demonstration=model.demonstration and not phantom),
        key_images=key_images,
        selection=task.selection,
        left_out=task.left_out,
        limits=pipeline.limits,
        provenance=Provenance(
            medcam_version=__version__,
            libraries=_libraries(),
            pipeline=task.pipeline,
            pipeline_hash=pipeline.digest(model.settings),
            model=model.name,
            model_version=model.version,
            model_hash=model.sha256,
            source_hash=_source_hash(series),
            steps=answer.steps,
            device=device,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        codes=pipeline.codes,
    )
    return case, pictures


def _key_images(
    series: Series, pixels: Pixels, explanation: Explanation, found: tuple[Region, ...]
) -> tuple[tuple[KeyImage, ...], dict[str, bytes]]:
    """The planes where the evidence is strongest, at one window for the whole series."""
    if pixels.origins is not None:
        overview, grid = slide_overview(pixels)
        image = KeyImage(None, "overview.png", None, "overview of the slide, tiles that hold tissue", grid)
        return (image,), {image.file: display.png(overview)}
    if series.kind == "image":
        window = None if pixels.colour else pixels.window or display.auto_window(pixels.array)
        image = KeyImage(None, "image.png", window, "the whole image")
        return (image,), {image.file: display.png(display.to_bytes(pixels.array, window))}
    shown = _planes(explanation, series.grid, found)
    window = None if pixels.colour else _volume_window(pixels, next(iter(shown)))
    word = "frame" if series.kind == "cine" else "slice"
    images, pictures = [], {}
    for index, why in shown.items():
        caption = f"{word} {index + 1} of {series.grid.shape[0]}, {why}"
        images.append(KeyImage(index, f"{word}_{index:04d}.png", window, caption))
        pictures[images[-1].file] = display.png(display.to_bytes(pixels.plane(index), window))
    return tuple(images), pictures


def _planes(explanation: Explanation, source: Grid, found: tuple[Region, ...]) -> dict[int, str]:
    """The slices or frames to show, and what is there."""
    shown: dict[int, str] = {}
    for number, region in enumerate(found, start=1):
        shown.setdefault(region.peak[0], "strongest evidence" if number == 1 else f"evidence region {number}")
    if shown:
        return dict(list(shown.items())[:MOST_KEY_IMAGES])
    if explanation.evidence.max() <= 0:
        return {source.shape[0] // 2: "in the middle: no evidence for the finding anywhere"}
    cell = np.unravel_index(int(explanation.evidence.argmax()), explanation.evidence.shape)
    at = source.index(explanation.grid.position([float(i) for i in cell]))
    return {int(np.clip(np.rint(at[0]), 0, source.shape[0] - 1)): "strongest evidence, too weak for a region"}


def _volume_window(pixels: Pixels, index: int) -> tuple[float, float]:
    if pixels.unit == "HU":
        return display.WINDOWS["lung"]
    return pixels.window or display.auto_window(pixels.plane(index))


def slide_overview(pixels: Pixels) -> tuple[npt.NDArray[np.uint8], Grid]:
    """The tiles (N, h, w, 3) of a slide put together on white glass: RGB and its Grid."""
    height, width = pixels.grid.shape
    step = max(1, -(-max(height, width) // OVERVIEW_PIXELS))
    canvas = np.full((-(-height // step), -(-width // step), 3), 255, dtype=np.uint8)
    for tile, (row, column) in zip(pixels.array, pixels.origins or (), strict=True):
        rows, columns = np.arange(-row % step, tile.shape[0], step), np.arange(-column % step, tile.shape[1], step)
        part = np.asarray(tile)[np.ix_(rows, columns)]
        top, left = -(-row // step), -(-column // step)
        room = canvas[top : top + len(rows), left : left + len(columns)]
        room[:] = part[: room.shape[0], : room.shape[1]]
    return canvas, pixels.grid.rescaled(canvas.shape[:2], step, 0)


def _source_hash(series: Series) -> str:
    total = hashlib.sha256()
    for file in series.files:
        with Path(file.path).open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


@functools.cache
def _libraries() -> Mapping[str, str]:
    found: dict[str, Any] = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("torch", "monai", "numpy", "pydicom"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
