"""What a picture shows, in words: plane, window, evidence, and what may stand in its pixels."""

import numpy as np

from medcam.display import strength
from medcam.findings import PROJECTIONS, Case, KeyImage

LEAST = 0.25
"""Evidence below this share of the display range is not painted."""

CLEAN = ("CT", "MR", "PT", "CR", "DX", "MG", "SM", "GM")
"""Modalities that seldom write on their images."""


def plane_words(case: Case, picture: KeyImage) -> str:
    """Which plane of the series a key image shows; slices and frames count from 1."""
    if picture.index is None:
        return "Overview of the slide" if case.kind == "slide" else "Whole image"
    if case.kind == "cine":
        at = f", at {case.frame_times_s[picture.index]:.2f} s" if case.frame_times_s else ""
        return f"Frame {picture.index + 1} of {case.grid.shape[0]}{at}"
    return f"Slice {picture.index + 1} of {case.grid.shape[0]}"


def window_words(case: Case, picture: KeyImage) -> str:
    """The display window of a key image."""
    if picture.window is None:
        return "automatic window" if case.modality in (*PROJECTIONS, "CT", "MR") else "as stored"
    unit = " HU" if case.modality == "CT" else ""
    centre, width = picture.window
    return f"window {centre:g} / {width:g}{unit} (centre / width)"


def evidence_words(case: Case) -> str:
    """What the colours of the overlay mean."""
    explanation = case.explanation
    if is_empty(case):
        return f"no evidence of {explanation.method} to show"
    low, high = (evidence_value(share, explanation.display_range) for share in (LEAST, 1.0))
    return f"evidence of {explanation.method} in {explanation.unit}, painted from {low:.3g} to {high:.3g}"


def unpainted(case: Case) -> str:
    """Why a series shows no colour, or "" if it does."""
    if is_empty(case):
        return "The map is empty: there is no evidence to show."
    explanation = case.explanation
    if np.abs(strength(explanation.evidence, explanation.display_range)).max() < LEAST:
        return "Nowhere in this series does the evidence reach a quarter of full colour, so nothing is painted."
    return ""


def may_name_patient(case: Case) -> bool:
    """Whether the source's own pixels may carry names: it says so, or says nothing and its kind often does."""
    stated = case.facts.get("BurnedInAnnotation", "").strip().upper()
    return stated == "YES" or (not stated and not case.phantom and case.modality not in CLEAN)


def evidence_value(share: float, display_range: tuple[float, float]) -> float:
    """The evidence that is painted as `share` of full colour: the inverse of `display.strength`."""
    low, high = display_range
    return low + share * (high - low) if low >= 0 else share * max(-low, high)


def is_empty(case: Case) -> bool:
    """Whether there is no evidence to show anywhere in the series."""
    low, high = case.explanation.display_range
    return high <= low
