"""The reviewer in the browser: a worklist and a page per case, over medcam.review and medcam.results.

Started by `medcam review RESULTS` (medcam.review.server), which sets every option that keeps it on this machine.
"""

import argparse
from pathlib import Path

import page_case
import page_worklist
import streamlit as st
from plain import plain

from medcam.errors import MedcamError
from medcam.results import Results

STYLE = """
<style>
  [data-testid="stHeader"] { background: transparent; pointer-events: none; }
  [data-testid="stMainBlockContainer"] { padding: 1.2rem 2rem; }
  [data-testid="stSidebarHeader"] { height: 1.2rem; margin-bottom: 0.3rem; }
  [data-testid="stText"] { font-family: inherit; font-size: 0.875rem; white-space: pre-wrap; }
  .st-key-choice button { padding: 0.2rem; }
  .st-key-choice button p { font-size: 0.875rem; }
  .st-key-choice button kbd, .st-key-choice [data-testid="stButtonShortcut"] { display: none; }
  [class*="st-key-viewer"] { background: #000; border-radius: 6px; padding: 0.4rem; }
  [class*="st-key-viewer"] img { border-radius: 0; object-fit: contain; }
  .st-key-viewer-one img { max-height: max(22rem, calc(100vh - 17rem)); }
  .st-key-viewer-many img { max-height: max(22rem, calc(100vh - 21rem)); }
</style>
"""


def main() -> None:
    st.set_page_config(page_title="medcam review", layout="wide", initial_sidebar_state="expanded")
    st.html(STYLE)
    options = arguments()
    try:
        results = opened(options.results, options.source)
        reader, hidden = sidebar(results, options.hidden_first_read)
        key = st.query_params.get("case", "")
        if key:
            page_case.show(results, key, reader, hidden)
        else:
            page_worklist.show(results, reader, hidden)
    except MedcamError as error:
        st.error(plain(str(error)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--source", type=Path, default=None)
    parser.add_argument("--hidden-first-read", action="store_true")
    return parser.parse_args()


@st.cache_resource(show_spinner=False)
def opened(folder: Path, source: Path | None) -> Results:
    return Results.open(folder, source)


def sidebar(results: Results, always_hidden: bool) -> tuple[str, bool]:
    """The reader's name, and whether cases begin without the AI."""
    with st.sidebar:
        st.markdown("**medcam review**  \n:small[Research use only. Not for diagnosis.]")
        reader = st.text_input("Reader", key="reader", placeholder="Your name", max_chars=100, autocomplete="off")
        hidden = st.toggle(
            "First read without the AI",
            key="hidden",
            value=always_hidden,
            disabled=always_hidden,
            help="Shows the images alone until your answer is locked; then the AI's result beside them.",
        )
        if (results.folder / "identifiers.sqlite").exists():
            st.toggle("Show patient identifiers", key="identifiers")
    return reader.strip(), hidden or always_hidden


main()
