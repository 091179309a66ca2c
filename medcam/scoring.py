"""One pipeline's model at work: from prepared series to scores, explanations and their uncertainty."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medcam.casework import Answer, ModelFacts
from medcam.errors import UsageError
from medcam.explainers import Explained, Placement, explain, stitch
from medcam.findings import Explanation, Prediction, Uncertainty
from medcam.grid import Grid
from medcam.models import load_bundle, settings_digest
from medcam.pipeline import Pipeline
from medcam.study import Pixels, Series
from medcam.transforms import Prepared, compose, prepare
from medcam.uncertainty import SHELF

TILES_DISTURBED = 16
"""Of a slide, this many tiles with the highest scores are disturbed; their pooled score stands for the slide's."""


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
        self._batch_size = batch_size
        card = self._bundle.card
        self.facts = ModelFacts(
            card.name, card.version, self._bundle.sha256, settings_digest(bundle), card.demonstration
        )
        self._disturbance = None
        if pipeline.uncertainty != "none":
            self._disturbance = SHELF.load(pipeline.uncertainty)()
        self._label = card.labels.index(pipeline.finding) if pipeline.finding in card.labels else 0

    def prepare(self, series: Series, pixels: Pixels) -> Prepared:
        """What the model sees of a series."""
        card = self._bundle.card
        return prepare(pixels, compose(card.transform, series.facts, **card.transform_options))

    def answers(self, batch: Sequence[Prepared]) -> list[Answer]:
        """Scores and maps of several series of one shape, or of one slide.

        Raises:
            ModelError: the model's output is not usable.
            ExplainError: there is no honest map.
        """
        if len(batch) == 1 and len(batch[0].tensor) > 1:
            return [self._slide(batch[0])]
        grids = [one.grid for one in batch]
        x = torch.cat([one.tensor for one in batch]).to(self.device)  # (B, C, *space)
        explained = self._explain(x, grids)
        doubts = self._disturb(explained)
        answers = []
        for row, one in enumerate(batch):
            doubt, spread = doubts[row]
            explanation = replace(self._map(explained, row), spread=spread)
            answers.append(Answer(self._prediction(explained.output[row : row + 1]), doubt, explanation, one.steps))
        return answers

    def _slide(self, slide: Prepared) -> Answer:
        """Tiles scored in turns, their maps stitched on the slide."""
        parts = [self._explain(x.to(self.device), grids) for x, grids in _chunks(slide, self._batch_size)]
        output = torch.cat([part.output for part in parts])  # (N, K)
        whole = slide_grid(slide.grids)
        origins = [tuple(round(float(i)) for i in whole.index(grid.position((0, 0)))) for grid in slide.grids]
        placements = [Placement(origin, slide.grids[0].shape) for origin in origins]
        maps = torch.cat([part.evidence for part in parts])[:, 0].float().cpu().numpy()  # (N, h, w)
        evidence, grid = stitch(maps, placements, parts[0].alignment, whole, overlap="mean")
        records = [self._map(part, row) for part in parts for row in range(len(part.grids))]
        notes = (
            "each tile shows the evidence for its own score; where tiles overlap, their mean",
            f"doubt was measured on the {TILES_DISTURBED} tiles with the highest scores, for the score only",
        )
        explanation = replace(
            records[0],
            grid=grid,
            input_grid=whole,
            evidence=evidence,
            display_range=(0.0, max(record.display_range[1] for record in records)),
            notes=(*parts[0].notes, *notes),
        )
        highest = self._bundle.odds(output, self._label).argsort(descending=True, stable=True)[:TILES_DISTURBED]
        return Answer(self._prediction(output), self._disturb_slide(slide, highest), explanation, slide.steps)

    def _explain(self, x: Tensor, grids: Sequence[Grid]) -> Explained:
        layer = self._pipeline.layer if self._pipeline.layer != "auto" else self._bundle.card.layer
        return explain(self._bundle.model, x, self._pipeline.explainer, self._odds, layer, grids=grids)

    def _odds(self, output: Tensor) -> Tensor:
        return self._bundle.odds(output, self._label)

    def _disturb(self, explained: Explained) -> list[tuple[Uncertainty, npt.NDArray[np.float32] | None]]:
        """How far scores and evidence move, for each row of a batch."""
        if self._disturbance is None:
            return [(Uncertainty("none", {}, None), None)] * len(explained.grids)
        spreads = self._disturbance.spread(self._bundle.model, explained)
        return [(spread.uncertainty, spread.per_cell) for spread in spreads]

    def _disturb_slide(self, slide: Prepared, rows: Tensor) -> Uncertainty:
        """How far the pooled score of these tiles moves when all of them are disturbed alike."""
        if self._disturbance is None:
            return Uncertainty("none", {}, None)
        grids = [slide.grids[row] for row in rows.tolist()]
        logits: dict[str, list[float]] = {}
        for x, places in _chunks(Prepared(slide.tensor[rows], tuple(grids), ()), self._batch_size):
            x = x.to(self.device)
            explained = self._explain(x, places)
            for spread in self._disturbance.spread(self._bundle.model, explained):
                for name, logit in spread.logits.items():
                    logits.setdefault(name, []).append(logit)
        pooled = {name: self._bundle.pooled(torch.tensor(parts)) for name, parts in logits.items()}
        scores = {name: float(logit.sigmoid()) for name, logit in pooled.items()}
        return Uncertainty(self._pipeline.uncertainty, scores, float(np.std(list(scores.values()))))

    def _prediction(self, output: Tensor) -> Prediction:
        return replace(self._bundle.prediction(output, self._label), finding=self._pipeline.finding)

    def _map(self, explained: Explained, row: int) -> Explanation:
        record = explained.sample(row, 0, self._pipeline.finding)
        top = self._bundle.card.full_colour.get(explained.method)
        if top is None:
            own = "colours are scaled to this series' own strongest evidence: do not compare them between series"
            return replace(record, notes=(*record.notes, own))
        return replace(record, display_range=(0.0, top))


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


def _chunks(slide: Prepared, size: int) -> list[tuple[Tensor, tuple[Grid, ...]]]:
    starts = range(0, len(slide.tensor), size)
    return [(slide.tensor[start : start + size], slide.grids[start : start + size]) for start in starts]
