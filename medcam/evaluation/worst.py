"""The cases a model was most wrong about, and where it looked: original beside overlay, all on one scale."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from medcam.data.images import Images
from medcam.display import Bytes, colour_bar, overlay, to_bytes
from medcam.evaluation.decisions import Decisions
from medcam.evaluation.outcome import WorstCase
from medcam.evaluation.prediction import LINE, outputs
from medcam.evaluation.table import Scored
from medcam.explainers import Explained, explain
from medcam.findings import CAPTION, Explanation
from medcam.grid import resample
from medcam.models import Bundle

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
    """The errors farthest from the threshold: up to `most` missed and `most` false alarms of each label, one a patient.

    Of exclusive classes up to twice as many, by the probability of the class each was taken for.
    """
    flagged, true = decisions.flagged(cases), cases.targets > 0.5
    if decisions.exclusive:
        taken = cases.predicted
        wrong = np.flatnonzero(~true[np.arange(len(cases)), taken])
        worst = wrong[np.argsort(-cases.probabilities[wrong, taken[wrong]], kind="stable")]
        chosen = _one_per_patient(cases, worst, 2 * most)
        return [Picked(i, int(taken[i]), f"taken for {cases.labels[taken[i]]}") for i in chosen]
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
    told: list[tuple[Explained, Explanation]] = []
    records = []
    for one in picked:
        rows = np.flatnonzero(owner == one.case)
        row = int(rows[scored.probabilities[rows, one.label].argmax()])
        name = cases.labels[one.label]
        x = images[row]["image"][None].to(next(bundle.model.parameters()).device)
        odds = partial(bundle.odds, label=chosen[one.label])
        explained = explain(bundle.model, x, method, odds, bundle.card.layer)
        told.append((explained, explained.sample(0, 0, name)))
        records.append(
            WorstCase(
                label=name,
                kind=one.kind,
                line=scored.columns[LINE][row],
                part=scored.parts[row],
                score=float(cases.probabilities[one.case, one.label]),
                notes=explained.flags.get((0, 0), ()),
            )
        )
    if not told:
        return Pictures((), (), "")
    stated = bundle.card.full_colour.get(method)
    top = stated if stated is not None else max(float(record.evidence.max()) for _, record in told)
    scale = "the scale of the bundle" if stated is not None else "full colour is the strongest evidence among them"
    unit = told[0][1].unit
    png = tuple(_picture(*one, (0.0, max(top, 0.0))) for one in told)
    return Pictures(tuple(records), png, f"{method}, {unit} per cell, one scale for all: {scale}. {CAPTION}")


def _picture(explained: Explained, record: Explanation, display_range: tuple[float, float]) -> bytes:
    """PNG: original, overlay and colour bar with its unit, on the slice or frame with the strongest evidence."""
    from matplotlib.figure import Figure

    base = _eight_bits(explained.images[0].detach().float().cpu().numpy())
    evidence = resample(record.evidence, record.grid, record.input_grid)
    if evidence.ndim == 3:
        peak = int(evidence.reshape(len(evidence), -1).max(1).argmax())
        base, evidence = base[peak], evidence[peak]
    height, width = evidence.shape
    painted = overlay(base, evidence, display_range)
    figure = Figure(figsize=(6.4, 2.9 * min(max(height / width, 0.5), 1.6) + 0.1), dpi=110, layout="constrained")
    plain, hot, bar = figure.subplots(1, 3, width_ratios=(1, 1, 0.05))
    plain.imshow(base, cmap="gray", vmin=0, vmax=255)
    hot.imshow(painted)
    low, high = display_range
    bar.imshow(colour_bar(256, 8), extent=(0, 1, low, high if high > low else 1.0), aspect="auto")
    for axes in (plain, hot):
        axes.set_axis_off()
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.tick_params(labelsize=8, colors=INK)
    bar.set_title(record.unit, fontsize=8, color=INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _eight_bits(image: npt.NDArray[np.floating]) -> Bytes:
    """(C, *space) to bytes (*space) or (*space, 3) at one window for all slices and frames."""
    values = np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = to_bytes(values.reshape(len(values), -1), (float(low + high) / 2, max(float(high - low), 1e-6)))
    return scaled.reshape(values.shape)
