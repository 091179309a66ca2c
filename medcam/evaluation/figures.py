"""The evaluation's figures as SVG, each drawn from its record alone."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from medcam.evaluation.bootstrap import Estimate
from medcam.evaluation.calibration import Calibrated
from medcam.evaluation.curves import Curve
from medcam.evaluation.doubt import Doubt
from medcam.evaluation.performance import Performance
from medcam.evaluation.subgroups import Subgroup

INK, FAINT, RULE = "#1d2733", "#5b6875", "#d9dfe5"
BLUE, ORANGE, GREEN, PURPLE = "#14548f", "#c2571a", "#2f7d5b", "#6b3fa0"
SQUARE = (4.0, 4.0)


def roc(curve: Curve, performance: Performance) -> bytes:
    """ROC with its band, and where the threshold lies on it."""

    def draw(axes: Any) -> None:
        axes.plot((0, 1), (0, 1), color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), label="chance")
        _band(axes, curve, f"{performance.label}: AUROC {number(performance.auroc)}")
        at = performance.at_threshold
        sensitivity, specificity = at["sensitivity"].value, at["specificity"].value
        if sensitivity is not None and specificity is not None:
            axes.plot(1 - specificity, sensitivity, "o", color=ORANGE, markersize=7, label="threshold", zorder=4)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right", fontsize=8, frameon=False)

    return _svg(draw)


def precision_recall(curve: Curve, performance: Performance) -> bytes:
    """Precision over sensitivity; the dashed line is what chance gives at this prevalence."""

    def draw(axes: Any) -> None:
        base = performance.prevalence or 0.0
        axes.axhline(base, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), label=f"chance (prevalence {base:.2f})")
        _band(axes, curve, f"{performance.label}: AP {number(performance.average_precision)}")
        at = performance.at_threshold
        if at["sensitivity"].value is not None and at["precision"].value is not None:
            point = at["sensitivity"].value, at["precision"].value
            axes.plot(*point, "o", color=ORANGE, markersize=7, label="threshold", zorder=4)
        axes.set(xlabel="sensitivity (recall)", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower left" if base < 0.6 else "lower right", fontsize=8, frameon=False)

    return _svg(draw)


def reliability(calibrated: Calibrated) -> bytes:
    """What came true over what was stated, with the number of cases of each bin below."""
    bins = calibrated.bins

    def draw(figure: Any) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot((0, 1), (0, 1), color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        low, high = zip(*((one.low or 0.0, one.high or 1.0) for one in calibrated.bin_intervals), strict=True)
        axes.vlines(bins.stated, low, high, color=BLUE, linewidth=1.4, alpha=0.45)
        axes.plot(bins.stated, bins.came_true, "o-", color=BLUE, markersize=4.5, linewidth=1)
        axes.set(ylabel="share that has it", ylim=(-0.03, 1.03), xlim=(-0.02, 1.02))
        axes.set_title(f"ECE {number(calibrated.ece)}, by chance {calibrated.ece_by_chance:.2f}", fontsize=9, color=INK)
        below.bar(bins.stated, bins.count, width=0.045, color=BLUE, alpha=0.6)
        for x, count in zip(bins.stated, bins.count, strict=True):
            below.annotate(str(count), (x, count), ha="center", va="bottom", fontsize=7, color=FAINT)
        below.set(xlabel="stated", ylabel="cases", ylim=(0, max(bins.count) * 1.3))

    return _whole(draw, SQUARE)


def risk(doubts: Sequence[Doubt], point: tuple[float, float] | None = None) -> bytes:
    """Error among the cases that are kept, for each measure of confidence about one question.

    Args:
        doubts: of the same cases.
        point: coverage and error of what screening decides about them.
    """

    def draw(axes: Any) -> None:
        for one, colour in zip(doubts, (BLUE, ORANGE, GREEN, PURPLE), strict=False):
            label = f"{one.method}: AURC {number(one.aurc, 3)}"
            axes.plot(one.curve.x, one.curve.y, color=colour, linewidth=1.5, label=label)
        if point is not None:
            axes.plot(*point, "o", color=ORANGE, markersize=7, label="screening", zorder=4, clip_on=False)
        rates = sorted({one.errors / one.cases for one in doubts})
        for rate in rates:
            axes.axhline(rate, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        top = max(*(max(one.curve.y) for one in doubts), point[1] if point is not None else 0.0)
        axes.set(xlabel="share of cases kept, surest first", ylabel="error among them", xlim=(0, 1.01))
        axes.set_ylim(0, max(min(top, 4 * max(*rates, 0.02, 0.0)), 0.05) * 1.25)
        axes.legend(loc="upper left", fontsize=8, frameon=False)

    return _svg(draw)


def forest(rows: Sequence[Subgroup], performance: Performance) -> bytes:
    """Each group's AUROC, sensitivity and specificity beside those of everybody (dashed)."""
    names = [f"{row.group} ({row.patients})" for row in rows]
    all_of = (performance.auroc, performance.sensitivity_wilson, performance.specificity_wilson)
    titles = ("auroc", "sensitivity", "specificity")

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, 3, sharey=True, gridspec_kw={"wspace": 0.12})
        at = _heights(rows)
        for axes, name, overall in zip(panels, titles, all_of, strict=True):
            if overall.value is not None:
                axes.axvline(overall.value, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
            for y, row in zip(at, rows, strict=True):
                _whisker(axes, y, getattr(row, name), ORANGE if name in row.differs else BLUE)
            axes.set_title("AUROC" if name == "auroc" else name, fontsize=9, color=INK)
            axes.set(xlim=(-0.02, 1.02), ylim=(max(at) + 0.7, -0.9))
            axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(at, names)
        for attribute in dict.fromkeys(row.attribute for row in rows):
            first = next(y for y, row in zip(at, rows, strict=True) if row.attribute == attribute)
            panels[0].annotate(
                attribute,
                (0, first - 0.62),
                xytext=(-4, 0),
                textcoords="offset points",
                xycoords=("axes fraction", "data"),
                ha="right",
                fontsize=8,
                fontweight="bold",
                color=INK,
                annotation_clip=False,
            )

    return _whole(draw, (8.2, 0.8 + 0.27 * (max(_heights(rows)) + 1.6)))


def number(estimate: Estimate, digits: int = 2) -> str:
    """A figure with its interval in words."""
    if estimate.value is None:
        return "not defined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} (no interval)"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _heights(rows: Sequence[Subgroup]) -> list[float]:
    """A row below the other, with room for the name of each attribute."""
    at, y, last = [], -1.0, ""
    for row in rows:
        y += 1.0 if row.attribute == last else 1.9
        at.append(y)
        last = row.attribute
    return at


def _whisker(axes: Any, y: float, estimate: Estimate, colour: str) -> None:
    if estimate.value is None:
        axes.annotate("too few", (0.5, y), ha="center", va="center", fontsize=7, color=FAINT)
        return
    if estimate.low is not None:
        axes.hlines(y, estimate.low, estimate.high, color=colour, linewidth=1.6)
    axes.plot(estimate.value, y, "s", color=colour, markersize=4.5)


def _band(axes: Any, curve: Curve, label: str) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=BLUE, alpha=0.16, linewidth=0, label="95 %, pointwise")
    axes.plot(curve.x, curve.y, color=BLUE, linewidth=1.7, label=label)


def _svg(draw: Callable[[Any], None]) -> bytes:
    return _whole(lambda figure: draw(figure.subplots()), SQUARE)


def _whole(draw: Callable[[Any], None], size: tuple[float, float]) -> bytes:
    """A figure of this size in inches, in one style, the same bytes for the same record."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 9,
        "svg.hashsalt": "medcam",
        "svg.fonttype": "path",
        "text.parse_math": False,  # a label is text, whatever signs are in it
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": RULE,
        "grid.linewidth": 0.5,
        "axes.axisbelow": True,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
