"""The viewer: the untouched original beside the overlay at the same window, slice by slice or frame by frame."""

import math
from collections.abc import Callable
from typing import Any

import scroll
import streamlit as st
from plain import plain

from medcam.findings import CAPTION
from medcam.review.pictures import Pictures
from medcam.review.session import Session

OPACITY, LEAST = 0.5, 0.25
"""Where the sliders begin."""


def show(pictures: Pictures, session: Session) -> None:
    if pictures.note:
        st.warning(plain(pictures.note))
    if not pictures.planes:
        st.error("There is nothing to show: neither the original images nor key images are here.")
    elif session.shows_ai:
        revealed(pictures)
    elif any(plane.unaided for plane in pictures.planes):
        unaided(pictures)
    else:
        st.error("A first read without the AI needs the original images; name their folder with --source.")


@st.fragment
def revealed(pictures: Pictures) -> None:
    key, explanation = pictures.case.key, pictures.case.explanation
    places = st.columns([1.5, 1, 1, 0.8], vertical_alignment="center", gap="medium")
    with places[0]:
        window = windows(pictures)
    opacity = places[1].slider("Overlay opacity", 0.0, 1.0, OPACITY, 0.05, key=f"opacity-{key}")
    least = LEAST
    low, high = pictures.threshold(0), pictures.threshold(1)
    if explanation.display_range[1] > explanation.display_range[0]:
        step, digits = (high - low) / 20, max(2, 2 - math.floor(math.log10(high - low)))
        painted = places[2].slider(
            f"Painted from ({explanation.unit})",
            low,
            high,
            pictures.threshold(LEAST),
            step,
            f"%.{digits}f",
            key=f"least-{key}",
        )
        least = (painted - low) / (high - low)
    with places[3]:
        on = switch(f"overlay-{key}")
    position = placed(name := f"position-{key}", pictures.peak)
    with st.container(key=frame(pictures)):
        left, right = st.columns(2, gap="small")
        left.image(pictures.original(position, window), width="stretch")
        right.image(pictures.overlay(position, window, opacity if on else 0.0, least), width="stretch")
    stepper(pictures, name, pictures.peak)
    words = f"Left: original. Right: {explanation.method} for “{explanation.target}”. {CAPTION}"
    if len(pictures.planes) > 1:
        words += " Arrow keys and the mouse wheel step."
    st.caption(plain(words))
    for note in explanation.notes:
        st.warning(plain(note))


@st.fragment
def unaided(pictures: Pictures) -> None:
    key = pictures.case.key
    window = windows(pictures)
    position = placed(name := f"unaided-{key}", pictures.middle)
    with st.container(key=frame(pictures)):
        _, middle, _ = st.columns([1, 2, 1])
        middle.image(pictures.original(position, window), width="stretch")
    stepper(pictures, name)


def windows(pictures: Pictures) -> str:
    """The chosen preset's name, the same for both panels; "" where the values are fixed."""
    names = list(pictures.windows)
    if len(names) < 2:
        return pictures.default_window
    key = f"window-{pictures.case.key}"
    return st.segmented_control("Window", names, default=pictures.default_window, key=key) or pictures.default_window


def frame(pictures: Pictures) -> str:
    """The dark container's key: its pictures leave room for a slider where there is one (see `app.STYLE`)."""
    return "viewer-many" if len(pictures.planes) > 1 else "viewer-one"


def switch(name: str) -> bool:
    """Whether the overlay is on."""
    st.session_state.setdefault(name, True)
    label = "Hide overlay" if st.session_state[name] else "Show overlay"
    st.button(label, key=f"{name}-button", shortcut="o", on_click=toggle, args=(name,), width="stretch")
    return st.session_state[name]


def toggle(name: str) -> None:
    st.session_state[name] = not st.session_state[name]


def placed(name: str, begin: int) -> int:
    """Position of the plane to show, from 0.

    While steps come faster than pictures, the browser still reports where the slider stood before the last step; so
    the slider counts only in a run that nothing else has moved.
    """
    at = int(st.session_state.setdefault(name, begin))
    slid = st.session_state.pop(f"{name}-slid", None)
    if not st.session_state.pop(f"{name}-moved", False) and slid is not None:
        at = st.session_state[name] = slid - 1
    return at


def stepper(pictures: Pictures, name: str, peak: int | None = None) -> None:
    """The slider, its buttons and keys; a single plane needs none."""
    count = len(pictures.planes)
    if count == 1:
        return
    slider = f"{name}-slider"
    places = st.columns([1.5, 8, 1.3, *([1.1] if peak is not None else [])], vertical_alignment="bottom")
    button(places[0], "Previous", f"{name}-previous", step, (name, -1, count))
    st.session_state[slider] = st.session_state[name] + 1
    label = "Frame" if pictures.case.kind == "cine" else "Slice"
    places[1].slider(label, 1, count, key=slider, label_visibility="collapsed", on_change=slide, args=(name,))
    button(places[2], "Next", f"{name}-next", step, (name, 1, count))
    if peak is not None:
        button(places[3], "Peak", f"{name}-peak", go, (name, peak), "p")
    scroll.listen(name, lambda by: step(name, by, count))


def button(
    place: Any, label: str, key: str, act: Callable[..., None], arguments: tuple[Any, ...], shortcut: str | None = None
) -> None:
    place.button(label, key=key, shortcut=shortcut, on_click=act, args=arguments, width="stretch")


def step(name: str, by: int, count: int) -> None:
    go(name, min(max(st.session_state[name] + by, 0), count - 1))


def go(name: str, to: int) -> None:
    """Show the plane at this position from the next run on."""
    st.session_state[name] = to
    st.session_state[f"{name}-moved"] = True


def slide(name: str) -> None:
    st.session_state[f"{name}-slid"] = st.session_state[f"{name}-slider"]
