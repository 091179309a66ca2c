"""One pipeline's model at work: from prepared series to scores, explanations and their uncertainty."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medcam.casework import Answer, model_facts
from medcam.errors import UsageError
from medcam.explainers import Explained, Placement, stitch
from medcam.findings import Explanation
from medcam.grid import Grid
from medcam.models import load_bundle
from medcam.models._attention import Looked
from medcam.pipeline import Pipeline
from medcam.reliability.judging import TILES_DISTURBED, Judge
from medcam.study import Pixels, Series
from medcam.transforms import Prepared, compose, prepare
from medcam.uncertainty import Spread

ATTENDED = "evidence of each frame or tile counts by the attention that the score pays to it"
"""Note of a map for a network that attends."""
OWN = "colours are scaled to this series' own strongest evidence: do not compare them between series"
"""Note of a map whose bundle knows no full colour."""


class Scorer:
    """A pipeline with its model loaded.

    Args:
        pipeline: what is asked.
        bundle: one with the pipeline's finding among its labels, or with one label that means it.
        device: "auto", "cpu", "cuda" or "mps".
        batch_size: most tiles of a slide in one forward pass.
        trust_code: let the bundle run code of its own.

    Raises:
        UsageError: the device is not there.
        ModelError: the bundle cannot be loaded.
    """

    def __init__(self, pipeline: Pipeline, bundle: Path, device: str, batch_size: int, trust_code: bool) -> None:
        self.device = choose_device(device)
        self._pipeline = pipeline
        self._bundle = load_bundle(bundle, device=self.device, trust_code=trust_code)
        card = self._bundle.card
        self.facts = model_facts(bundle, replace(card, weights_sha256=self._bundle.sha256))
        self._judge = Judge(self._bundle, pipeline.uncertainty, pipeline.explainer, pipeline.layer, batch_size)
        self._label = card.labels.index(pipeline.finding) if pipeline.finding in card.labels else 0

    def prepare(self, series: Series, pixels: Pixels) -> Prepared:
        """What the model sees of a series."""
        card = self._bundle.card
        return prepare(pixels, compose(card.transform, series.facts, **card.transform_options))

    def answers(self, batch: Sequence[Prepared], patients: Sequence[str] = ()) -> list[Answer]:
        """Scores and maps of several series of one shape, or of one slide or bag of tiles.

        Args:
            batch: what `prepare` gave.
            patients: whom each series shows, "" where that is not known; left out of the training cases that support.

        Raises:
            ModelError: the model's output is not usable.
            ExplainError: there is no honest map.
        """
        who = [patient or None for patient in patients] or [None] * len(batch)
        if self._judge.attending is not None and batch[0].tensor.ndim == 4:  # tiles are a bag, one alone too
            return [self._attended_slide(one, patient) for one, patient in zip(batch, who, strict=True)]
        if len(batch) == 1 and len(batch[0].tensor) > 1:
            return [self._slide(batch[0], who[0])]
        grids = [one.grid for one in batch]
        x = torch.cat([one.tensor for one in batch]).to(self.device)  # (B, C, *space)
        explained = self._judge.explain(x, self._label, grids)
        looked = self._judge.look(x)
        spreads, features = self._judge.spreads(explained), self._judge.features([explained], looked)
        answers = []
        for row, one in enumerate(batch):
            spread, feature = spreads[row : row + 1], None if features is None else features[row : row + 1]
            shown = replace(self._map(explained, row), spread=spread[0].per_cell if spread else None)
            if looked:
                shown = replace(shown, notes=(*shown.notes, ATTENDED))
            seen, output = looked[row] if looked else None, explained.output[row : row + 1]
            answers.append(self._answer(output, feature, spread, who[row], shown, one.steps, seen))
        return answers

    def _slide(self, slide: Prepared, patient: str | None) -> Answer:
        """Tiles scored in turns, their maps stitched on the slide."""
        parts = self._judge.tiles(slide.tensor, self._label, slide.grids)
        output = torch.cat([part.output for part in parts])  # (N, K)
        records = [self._map(part, row) for part in parts for row in range(len(part.grids))]
        shown = _stitched(records[0], parts, slide.grids)
        notes = (
            "each tile shows the evidence for its own score; where tiles overlap, their mean",
            f"doubt was measured on the {TILES_DISTURBED} tiles with the highest scores, for the score only",
        )
        top = max(record.display_range[1] for record in records)
        explanation = replace(shown, display_range=(0.0, top), notes=(*parts[0].notes, *notes))
        spreads = self._judge.spreads_of_tiles(slide.tensor, output, self._label, slide.grids)
        return self._answer(output, self._judge.features(parts), spreads, patient, explanation, slide.steps)

    def _attended_slide(self, slide: Prepared, patient: str | None) -> Answer:
        """Tiles as the bag that the network attends to, their maps stitched in the shares of its logit."""
        parts, looked = self._judge.bag(slide.tensor, self._label, slide.grids)
        shown = _stitched(self._map(parts[0], 0), parts, slide.grids, looked.weights.tolist())
        notes: tuple[str, ...] = (
            ATTENDED,
            f"doubt was measured on the {TILES_DISTURBED} tiles attended to most, the others left as they are",
        )
        top = self._full_colour(parts[0].method, len(slide.grids))
        if top is None:
            top, notes = max(float(shown.evidence.max()), 0.0), (*notes, OWN)
        explanation = replace(shown, display_range=(0.0, top), notes=(*parts[0].notes, *notes))
        spreads = self._judge.spreads_of_bag(slide.tensor, looked, self._label)
        features = self._judge.features(parts, [looked])
        return self._answer(looked.output, features, spreads, patient, explanation, slide.steps, looked)

    def _answer(
        self,
        output: Tensor,
        features: npt.NDArray[np.float32] | None,
        spreads: Sequence[Spread],
        patient: str | None,
        explanation: Explanation,
        steps: tuple[str, ...],
        looked: Looked | None = None,
    ) -> Answer:
        """About one series, from the outputs (N, K) and features (N, D) of its parts."""
        prediction = self._judge.prediction(output, self._label, features, patient, looked)
        named = replace(prediction, finding=self._pipeline.finding)
        return Answer(named, self._judge.doubt(spreads, self._label), explanation, steps)

    def _map(self, explained: Explained, row: int) -> Explanation:
        record = explained.sample(row, 0, self._pipeline.finding)
        parts = explained.images.shape[2] if self._judge.attending is not None else 1
        top = self._full_colour(explained.method, parts)
        if top is None:
            return replace(record, notes=(*record.notes, OWN))
        return replace(record, display_range=(0.0, top))

    def _full_colour(self, method: str, parts: int) -> float | None:
        """Of a series that has so many frames or tiles to attend to."""
        top = self._bundle.card.full_colour.get(method)
        return None if top is None else top / (parts if self._judge.attending is not None else 1)


def _stitched(
    record: Explanation, parts: Sequence[Explained], grids: Sequence[Grid], weights: Sequence[float] | None = None
) -> Explanation:
    """One map of a slide from those of its tiles: their mean where they overlap, or the sum of their shares.

    Args:
        record: of a tile.
        parts: some tiles each.
        grids: of all tiles.
        weights: of each tile's logit in the slide's.
    """
    whole = slide_grid(grids)
    origins = [tuple(round(float(i)) for i in whole.index(grid.position((0, 0)))) for grid in grids]
    shares = weights or [1.0] * len(grids)
    placements = [Placement(at, grids[0].shape, share) for at, share in zip(origins, shares, strict=True)]
    maps = torch.cat([part.evidence for part in parts])[:, 0].float().cpu().numpy()  # (N, h, w)
    overlap: Literal["sum", "mean"] = "mean" if weights is None else "sum"
    evidence, grid = stitch(maps, placements, parts[0].alignment, whole, overlap=overlap)
    return replace(record, grid=grid, input_grid=whole, evidence=evidence)


def choose_device(wanted: str) -> str:
    """The device to work on: "auto" takes an accelerator if there is one.

    Raises:
        UsageError: the device that was asked for is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(wanted.split(":")[0], False):
        raise UsageError("no-device", f"There is no device {wanted!r} here; choose auto or cpu.")
    return wanted


def slide_grid(grids: Sequence[Grid]) -> Grid:
    """The smallest grid that holds all tiles, in cells of the tiles' own size."""
    first = grids[0]
    corners = np.array([first.index(grid.position((0.0, 0.0))) for grid in grids])  # (N, 2) in cells
    start, stop = np.floor(corners.min(axis=0) + 1e-6), np.ceil(corners.max(axis=0) - 1e-6) + first.shape
    return first.rescaled(tuple(int(n) for n in stop - start), 1, start)
