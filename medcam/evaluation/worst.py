"""The cases a model was most wrong about, and where it looked: original beside overlay, all on one scale."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medcam.data.images import Images
from medcam.data.wholes import Wholes
from medcam.display import Bytes, colour_bar, overlay, to_bytes
from medcam.errors import ExplainError
from medcam.evaluation.decisions import Decisions
from medcam.evaluation.outcome import WorstCase
from medcam.evaluation.prediction import LINE, outputs
from medcam.evaluation.table import Scored
from medcam.explainers import explain, explain_bag
from medcam.findings import CAPTION, Explanation
from medcam.grid import resample
from medcam.models import Bundle
from medcam.models._attention import Attending, folded

INK = "#1d2733"


@dataclass(frozen=True)
class Picked:
    """An error to show."""

    case: int
    """Row of the cases."""
    label: int
    """What is explained."""
    kind: str


@dataclass(frozen=True)
class Pictures:
    """The worst cases with their pictures."""

    cases: tuple[WorstCase, ...]
    png: tuple[bytes, ...]
    explained: str
    """Method, unit and scale."""


def pick(cases: Scored, decisions: Decisions, most: int) -> list[Picked]:
    """The errors farthest from the threshold: up to `most` of each kind and label, one a patient."""
    flagged, true = decisions.flagged(cases), cases.targets > 0.5
    picked = []
    for k in range(len(cases.labels)):
        scores = cases.probabilities[:, k]
        for kind, rows, sign in (
            ("missed", true[:, k] & ~flagged[:, k], 1),
            ("false alarm", ~true[:, k] & flagged[:, k], -1),
        ):
            at = np.flatnonzero(rows)
            worst = at[np.argsort(sign * scores[at], kind="stable")]
            picked += [Picked(i, k, kind) for i in _one_per_patient(cases, worst, most)]
    return picked


def _one_per_patient(cases: Scored, rows: npt.NDArray[np.intp], most: int) -> list[int]:
    first: dict[str, int] = {}
    for row in rows.tolist():
        first.setdefault(cases.patients[row], row)
    return list(first.values())[:most]


def pictures(
    picked: Sequence[Picked],
    cases: Scored,
    keys: Sequence[str],
    bundle: Bundle,
    images: Images,
    scored: Scored,
    method: str = "gradcam",
) -> Pictures:
    """Explain each picked case by its image with the highest score for what is explained.

    Args:
        picked: from `pick`.
        cases: what they are rows of.
        keys: (N,) for each image the key of its case; `cases` are in the order of their first appearance.
        bundle: the model.
        images, scored: (N,) what the cases were pooled from.
        method: a member of the explainers' shelf.
    """
    names = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    owner = np.array([names[key] for key in keys])
    chosen = outputs(bundle, images.labelling)
    attends = Attending.of(bundle.model) is not None
    told: list[tuple[Tensor, Explanation | None]] = []
    records = []
    for one in picked:
        rows = np.flatnonzero(owner == one.case)
        row = int(rows[scored.probabilities[rows, one.label].argmax()])
        name = cases.labels[one.label]
        x = images[row]["image"][None].to(bundle.device)
        parts = x.shape[2]
        if isinstance(images, Wholes) and images.by == "exam":
            x, shown, notes = _patch(bundle, folded(x), method, chosen[one.label], name)
        else:
            shown, notes = _explained(bundle, x, method, chosen[one.label], name)
        if shown is not None and attends:
            shown = replace(shown, evidence=shown.evidence * parts)  # as `Card.full_colour` is stated
        told.append((x[0], shown))
        records.append(
            WorstCase(
                label=name,
                kind=one.kind,
                line=scored.columns[LINE][row],
                part=scored.parts[row],
                score=float(cases.probabilities[one.case, one.label]),
                notes=notes,
            )
        )
    if not told:
        return Pictures((), (), "")
    maps = [shown for _, shown in told if shown is not None]
    stated = bundle.card.full_colour.get(method)
    top = stated if stated is not None else max((float(shown.evidence.max()) for shown in maps), default=0.0)
    scale = "the scale of the bundle" if stated is not None else "full colour is the strongest evidence among them"
    png = tuple(_picture(x.detach().float().cpu().numpy(), shown, (0.0, max(top, 0.0))) for x, shown in told)
    unit = f"{maps[0].unit} per cell" + (" times frames or patches" if attends else "") if maps else ""
    words = f"{method}, {unit}, one scale for all: {scale}. {CAPTION}" if maps else "no map to be had"
    return Pictures(tuple(records), png, words)


def _explained(
    bundle: Bundle, x: Tensor, method: str, label: int, name: str
) -> tuple[Explanation | None, tuple[str, ...]]:
    """The map of one image and what is wrong with it; None where there is none to be had."""
    try:
        found = explain(bundle.model, x, method, partial(bundle.odds, label=label), bundle.card.layer)
    except ExplainError as error:
        return None, (f"no map: {error}",)
    return found.sample(0, 0, name), found.flags.get((0, 0), ())


def _patch(
    bundle: Bundle, tiles: Tensor, method: str, label: int, name: str
) -> tuple[Tensor, Explanation | None, tuple[str, ...]]:
    """Of a bag (N, C, H, W) the patch (1, C, H, W) with the strongest evidence for it, and that."""
    halves = Attending.of(bundle.model)
    assert halves is not None
    try:
        parts, looked = explain_bag(halves, tiles, method, partial(bundle.odds, label=label), bundle.card.layer)
    except ExplainError as error:
        return tiles[:1], None, (f"no map: {error}",)
    samples = [part.sample(row, 0, name) for part in parts for row in range(len(part.grids))]
    shares = [replace(one, evidence=one.evidence * w) for one, w in zip(samples, looked.weights.tolist(), strict=True)]
    best = max(range(len(shares)), key=lambda number: float(shares[number].evidence.max()))
    notes = (
        f"the patch with the strongest evidence, of {len(shares)}; attention to it {float(looked.weights[best]):.0%}"
    )
    return tiles[best : best + 1], shares[best], (notes,)


def _picture(image: npt.NDArray[np.float32], shown: Explanation | None, display_range: tuple[float, float]) -> bytes:
    """PNG: original, overlay and colour bar with its unit, on the slice or frame with the strongest evidence.

    Args:
        image: (C, *space).
        shown: its map; without one the original is alone, on its middle slice or frame.
        display_range: of the evidence, the same for all pictures.
    """
    from matplotlib.figure import Figure

    base = _eight_bits(image)
    evidence: npt.NDArray[Any] = np.zeros(image.shape[1:])
    if shown is not None:
        evidence = resample(shown.evidence, shown.grid, shown.input_grid)
    if evidence.ndim == 3:
        strongest = int(evidence.reshape(len(evidence), -1).max(1).argmax())
        plane = len(evidence) // 2 if shown is None else strongest
        base, evidence = base[plane], evidence[plane]
    height, width = evidence.shape
    figure = Figure(figsize=(6.4, 2.9 * min(max(height / width, 0.5), 1.6) + 0.1), dpi=110, layout="constrained")
    plain, hot, bar = figure.subplots(1, 3, width_ratios=(1, 1, 0.05))
    plain.imshow(base, cmap="gray", vmin=0, vmax=255)
    for axes in (plain, hot) if shown is not None else (plain, hot, bar):
        axes.set_axis_off()
    if shown is not None:
        hot.imshow(overlay(base, evidence, display_range))
        _bar(bar, shown.unit, display_range)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _bar(axes: Any, unit: str, display_range: tuple[float, float]) -> None:
    low, high = display_range
    axes.imshow(colour_bar(256, 8), extent=(0, 1, low, high if high > low else 1.0), aspect="auto")
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=8, colors=INK)
    axes.set_title(unit, fontsize=8, color=INK)


def _eight_bits(image: npt.NDArray[np.floating]) -> Bytes:
    """(C, *space) to bytes (*space) or (*space, 3) at one window for all slices and frames."""
    values = np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = to_bytes(values.reshape(len(values), -1), (float(low + high) / 2, max(float(high - low), 1e-6)))
    return scaled.reshape(values.shape)
