"""One pipeline's model at work: from prepared series to scores, explanations and their uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medcam.casework import Answer, model_facts
from medcam.errors import ModelError, UsageError
from medcam.explainers import Explained, Placement, explain, stitch
from medcam.findings import Explanation, Prediction, Uncertainty
from medcam.grid import Grid
from medcam.models import load_bundle
from medcam.pipeline import Pipeline
from medcam.reliability.apply import Reliability, uncertainty
from medcam.reliability.support import features
from medcam.study import Pixels, Series
from medcam.transforms import Prepared, compose, prepare
from medcam.uncertainty import SHELF, Spread

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
        self.facts = model_facts(bundle, replace(card, weights_sha256=self._bundle.sha256))
        self._reliability = Reliability.of(self._bundle)
        self._disturbance = None
        if pipeline.uncertainty != "none":
            self._disturbance = SHELF.load(pipeline.uncertainty).of(self._bundle)
        self._label = card.labels.index(pipeline.finding) if pipeline.finding in card.labels else 0

    def prepare(self, series: Series, pixels: Pixels) -> Prepared:
        """What the model sees of a series."""
        card = self._bundle.card
        return prepare(pixels, compose(card.transform, series.facts, **card.transform_options))

    def answers(self, batch: Sequence[Prepared], patients: Sequence[str] = ()) -> list[Answer]:
        """Scores and maps of several series of one shape, or of one slide.

        Args:
            batch: what `prepare` gave.
            patients: whom each series shows, "" where that is not known; left out of the training cases that support.

        Raises:
            ModelError: the model's output is not usable.
            ExplainError: there is no honest map.
        """
        who = [patient or None for patient in patients] or [None] * len(batch)
        if len(batch) == 1 and len(batch[0].tensor) > 1:
            return [self._slide(batch[0], who[0])]
        grids = [one.grid for one in batch]
        x = torch.cat([one.tensor for one in batch]).to(self.device)  # (B, C, *space)
        explained = self._explain(x, grids)
        doubts, features = self._disturb(explained), self._features([explained])
        answers = []
        for row, one in enumerate(batch):
            doubt, spread = doubts[row]
            feature = None if features is None else features[row : row + 1]
            prediction = self._prediction(explained.output[row : row + 1], feature, who[row])
            answers.append(Answer(prediction, doubt, replace(self._map(explained, row), spread=spread), one.steps))
        return answers

    def _slide(self, slide: Prepared, patient: str | None) -> Answer:
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
        prediction = self._prediction(output, self._features(parts), patient)
        return Answer(prediction, self._disturb_slide(slide, highest), explanation, slide.steps)

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
        doubts: list[tuple[Uncertainty, npt.NDArray[np.float32] | None]] = []
        for spread in spreads:
            outputs = None if spread.outputs is None else torch.from_numpy(spread.outputs)[:, None]
            scores = self._scores(list(spread.logits), outputs) or spread.uncertainty.scores
            doubts.append((self._doubt(scores, spread.cells), spread.per_cell))
        return doubts

    def _disturb_slide(self, slide: Prepared, rows: Tensor) -> Uncertainty:
        """How far the pooled score of these tiles moves when all of them are disturbed alike."""
        if self._disturbance is None:
            return Uncertainty("none", {}, None)
        grids = [slide.grids[row] for row in rows.tolist()]
        spreads: list[Spread] = []
        for x, places in _chunks(Prepared(slide.tensor[rows], tuple(grids), ()), self._batch_size):
            spreads += self._disturbance.spread(self._bundle.model, self._explain(x.to(self.device), places))
        whole = [spread.outputs for spread in spreads if spread.outputs is not None]
        outputs = torch.from_numpy(np.stack(whole, axis=1)) if len(whole) == len(spreads) else None
        odds = torch.tensor([list(spread.logits.values()) for spread in spreads])  # (tiles, members)
        pooled = [float(self._bundle.pooled(member).sigmoid()) for member in odds.T]
        names = list(spreads[0].logits)
        return self._doubt(self._scores(names, outputs) or dict(zip(names, pooled, strict=True)))

    def _scores(self, names: list[str], outputs: Tensor | None) -> dict[str, float]:
        """Calibrated scores of members from their outputs (members, parts, K); empty where there is no calibration."""
        known = self._reliability
        if known is None or known.calibration is None:
            return {}
        if outputs is None:
            raise ModelError("not-calibrated", f"{self._pipeline.uncertainty} gives no outputs that can be calibrated.")
        calibrated = known.probability(np.stack([self._pooled(parts) for parts in outputs]))[:, self._label]
        return dict(zip(names, calibrated.tolist(), strict=True))

    def _doubt(self, scores: Mapping[str, float], cells: npt.NDArray[np.float32] | None = None) -> Uncertainty:
        assert self._disturbance is not None
        return uncertainty(self._disturbance.name, scores, networks=self._disturbance.networks, cells=cells)

    def _pooled(self, output: Tensor) -> npt.NDArray[np.float64]:
        """Logits (K,) of a series from those of its parts (N, K)."""
        each = [self._bundle.pooled(logits) for logits in output.double().cpu().T]
        return torch.stack(each).numpy()

    def _features(self, parts: Sequence[Explained]) -> npt.NDArray[np.float32] | None:
        """(N, D) as the bundle's support knows them; None where it has none."""
        support = None if self._reliability is None else self._reliability.support
        if support is None:
            return None
        if all(part.features is not None and part.layer == support.layer for part in parts):
            return torch.cat([part.features for part in parts if part.features is not None]).float().cpu().numpy()
        return features(self._bundle.model, (part.images for part in parts), support.layer)[1]

    def _prediction(self, output: Tensor, features: npt.NDArray[np.float32] | None, patient: str | None) -> Prediction:
        """From the parts' outputs (N, K) and features (N, D); support is that of the part with the highest score."""
        found = replace(self._bundle.prediction(output, self._label), finding=self._pipeline.finding)
        if self._reliability is None:
            return found
        highest = int(self._bundle.odds(output, self._label).argmax())
        return self._reliability.judged(
            found,
            self._pooled(output.detach()),
            self._label,
            parts=output.detach().double().cpu().numpy(),
            feature=None if features is None else features[highest],
            patient=patient,
        )

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
