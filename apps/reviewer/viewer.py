"""The viewer: the untouched original beside the overlay at the same window, slice by slice or frame by frame."""

import streamlit as st

from medcam.findings import CAPTION
from medcam.review.pictures import Pictures
from medcam.review.session import Session

OPACITY, LEAST = 0.5, 0.25
"""Where the sliders begin."""


def show(pictures: Pictures, session: Session) -> None:
    if pictures.note:
        st.warning(pictures.note)
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
    if high > low:
        step = (high - low) / 20
        painted = places[2].slider(
            f"Painted from ({explanation.unit})", low, high, pictures.threshold(LEAST), step, "%.2f", key=f"least-{key}"
        )
        least = (painted - low) / (high - low)
    with places[3]:
        on = switch(f"overlay-{key}")
    position = placed(pictures, name := f"position-{key}", pictures.peak)
    with st.container(key="viewer"):
        left, right = st.columns(2, gap="small")
        left.image(pictures.original(position, window), width="stretch")
        right.image(pictures.overlay(position, window, opacity if on else 0.0, least), width="stretch")
    stepper(pictures, name, pictures.peak)
    st.caption(f"Left: original. Right: {explanation.method} for “{explanation.target}”. {CAPTION}")
    for note in explanation.notes:
        st.warning(note)


@st.fragment
def unaided(pictures: Pictures) -> None:
    key = pictures.case.key
    window = windows(pictures)
    position = placed(pictures, name := f"unaided-{key}", pictures.middle)
    with st.container(key="viewer"):
        _, middle, _ = st.columns([1, 2, 1])
        middle.image(pictures.original(position, window), width="stretch")
    stepper(pictures, name)


def windows(pictures: Pictures) -> str:
    """The chosen preset's name, the same for both panels; "" where the values are fixed."""
    names = list(pictures.windows)
    if not names:
        return ""
    key = f"window-{pictures.case.key}"
    return st.segmented_control("Window", names, default=pictures.default_window, key=key) or pictures.default_window


def switch(name: str) -> bool:
    """Whether the overlay is on."""
    st.session_state.setdefault(name, True)
    label = "Hide overlay" if st.session_state[name] else "Show overlay"
    st.button(label, key=f"{name}-button", shortcut="o", on_click=toggle, args=(name,), width="stretch")
    return st.session_state[name]


def toggle(name: str) -> None:
    st.session_state[name] = not st.session_state[name]


def placed(pictures: Pictures, name: str, begin: int) -> int:
    """Position of the plane to show, from 0; the slider counts from 1."""
    return int(st.session_state.setdefault(name, begin + 1)) - 1


def stepper(pictures: Pictures, name: str, peak: int | None = None) -> None:
    """The slider and its keys; a single plane needs none."""
    count = len(pictures.planes)
    if count == 1:
        return
    places = st.columns([1, 10, 1, 1] if peak is not None else [1, 10, 1], vertical_alignment="bottom")
    places[0].button(
        "Back", key=f"{name}-back", shortcut="left", on_click=step, args=(name, -1, count), width="stretch"
    )
    label = "Frame" if pictures.case.kind == "cine" else "Slice"
    places[1].slider(label, 1, count, key=name)
    places[2].button("On", key=f"{name}-on", shortcut="right", on_click=step, args=(name, 1, count), width="stretch")
    if peak is not None:
        places[3].button("Peak", key=f"{name}-peak", shortcut="p", on_click=go, args=(name, peak + 1), width="stretch")


def step(name: str, by: int, count: int) -> None:
    st.session_state[name] = min(max(st.session_state[name] + by, 1), count)


def go(name: str, to: int) -> None:
    st.session_state[name] = to
