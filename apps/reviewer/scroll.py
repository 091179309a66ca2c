"""Arrow keys and the mouse wheel: steps are summed in the browser (scroll.js), so that quick ones are not lost."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

_listener = st.components.v2.component("medcam_scroll", js=(Path(__file__).parent / "scroll.js").read_text())


def listen(name: str, step: Callable[[int], None]) -> None:
    """Call `step` with the number of slices to move, back or on, whenever there are any."""

    def moved() -> None:
        now = st.session_state[key].moved
        seen = st.session_state.get(f"{key}-seen", {"mount": None, "steps": 0})
        before = seen["steps"] if seen["mount"] == now["mount"] else 0  # a new page counts from nought
        st.session_state[f"{key}-seen"] = now
        step(now["steps"] - before)

    key = f"{name}-scroll"
    _listener(key=key, on_moved_change=moved, height=1)
