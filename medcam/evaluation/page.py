"""The evaluation as one page that fetches nothing: inline style and pictures, every figure with its interval."""

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcam.evaluation import figures
from medcam.evaluation.bootstrap import Estimate
from medcam.evaluation.caveats import prevalence
from medcam.evaluation.outcome import Evaluation, LabelResult
from medcam.evaluation.performance import Performance
from medcam.evaluation.referral import Referral

TEMPLATE = "_page.html.jinja"

RATIOS = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision (positive predictive value)",
    "negative_predictive_value": "Negative predictive value",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
}
_COUNTED = {
    "sensitivity": lambda p: (p.tp, p.tp + p.fn),
    "specificity": lambda p: (p.tn, p.tn + p.fp),
    "precision": lambda p: (p.tp, p.tp + p.fp),
    "negative_predictive_value": lambda p: (p.tn, p.tn + p.fn),
    "accuracy": lambda p: (p.tp + p.tn, p.cases),
}


def page(evaluation: Evaluation, pictures: Sequence[bytes] = ()) -> str:
    """The page as HTML.

    Args:
        evaluation: everything that is shown.
        pictures: PNGs of its worst cases, in their order.
    """
    risks = {
        what: _image(figures.risk([one for one in evaluation.doubts if one.what == what]))
        for what in dict.fromkeys(one.what for one in evaluation.doubts)
    }
    return str(
        _template().render(
            e=evaluation,
            labels=[_label(result, evaluation.level) for result in evaluation.labels],
            risks=risks,
            decided=[_risk_of(one) for one in evaluation.referrals],
            pictures=[_image(png, "image/png") for png in pictures],
        )
    )


def _risk_of(one: Referral) -> str:
    """Where screening lies beside the curve of referring by distance alone."""
    error = one.decided.error.value
    return _image(figures.risk([one.ranking], None if error is None else (one.coverage, error)))


def _label(result: LabelResult, level: str) -> dict[str, Any]:
    """One label's tables and figures."""
    found = result.performance
    drawn: list[tuple[str, str]] = []
    if result.roc is not None:
        said = "ROC. The band holds 95 % of the curves of drawn patients at each specificity by itself."
        drawn.append((_image(figures.roc(result.roc, found)), said))
    if result.precision_recall is not None:
        drawn.append((_image(figures.precision_recall(result.precision_recall, found)), "Precision over sensitivity."))
    said = "What came true over what was stated. Bars: 95 %, by the number of patients in the bin; numbers: cases."
    drawn.append((_image(figures.reliability(result.calibrated)), said))
    wilson = {"sensitivity": found.sensitivity_wilson, "specificity": found.specificity_wilson}
    return {
        "name": found.label,
        "result": result,
        "performance": found,
        "ratios": [(RATIOS[name], _share(found, name), found.at_threshold[name], wilson.get(name)) for name in RATIOS],
        "prevalence": prevalence(found),
        "figures": drawn,
        "levels": _levels(result, level),
        "forest": _image(figures.forest(result.subgroups, found)) if result.subgroups else "",
    }


def _levels(result: LabelResult, level: str) -> list[tuple[str, Performance]]:
    both = (
        ("single image, frame or tile", result.by_image),
        (level, result.performance),
        ("patient", result.by_patient),
    )
    there = [(name, one) for name, one in both if one is not None]
    return there if len(there) > 1 else []


def _share(found: Performance, name: str) -> str:
    """Cases behind a ratio, e.g. "46 of 53"."""
    if name not in _COUNTED:
        return ""
    part, whole = _COUNTED[name](found)
    return f"{part} of {whole}"


def _image(content: bytes, kind: str = "image/svg+xml") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"n": figures.number, "percent": _percent, "p": _p, "plain": _plain}
    return environment.get_template(TEMPLATE)


def _percent(estimate: Estimate) -> str:
    if estimate.value is None:
        return "not defined"
    text = f"{100 * estimate.value:.0f} %"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"


def _p(value: float | None) -> str:
    if value is None:
        return "not defined"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _plain(value: float | None, digits: int = 2) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"
