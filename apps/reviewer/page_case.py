"""The page of one case: the viewer, what the AI says, and the reader's answer."""

import findings
import reading
import streamlit as st
import viewer
from page_worklist import open_case, patient, words
from plain import plain

from medcam.findings import Case, plus_minus
from medcam.results import Results
from medcam.review.pictures import Pictures
from medcam.review.session import Session
from medcam.review.worklist import next_unread, unaided, worklist

COLOURS = {"refer": "orange", "flagged": "red", "not flagged": "gray", "demonstration only": "gray", "outdated": "gray"}


def show(results: Results, key: str, reader: str, hidden: bool) -> None:
    known = {row.key for row in worklist(results)}
    if key not in known:
        st.error("There is no such case in this results folder.")
        if st.button("Back to the worklist"):
            back()
        return
    written = (results.path(key) / "case.json").stat().st_mtime_ns
    pictures = drawn(results, str(results.folder), key, written)
    case = pictures.case
    session = reading.session(results, key, reader, hidden)
    header(results, case, session)
    if case.decision.outdated:
        st.warning(f"Outdated: {case.decision.outdated}")
    if session.shows_ai:
        answer(case)
    viewer.show(pictures, session)
    with st.sidebar:
        st.divider()
        reading.form(case, session)
    findings.show(results, case, pictures, session)


@st.cache_resource(max_entries=4, show_spinner="Reading the images …")
def drawn(_results: Results, folder: str, key: str, written: int) -> Pictures:
    """The pictures of a case as it was `written`; a few stay open, so that stepping back is quick."""
    return Pictures(_results, _results.case(key))


def header(results: Results, case: Case, session: Session) -> None:
    left, middle, right = st.columns([1, 5, 1.3], vertical_alignment="center")
    if left.button("Worklist", key="back", icon=":material/arrow_back:", shortcut="w", width="stretch"):
        back()
    title = words(case.pipeline)
    named = patient(results, case.key) if st.session_state.get("identifiers") else ""
    with middle, st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.markdown(f"#### {plain(title[:1].upper() + title[1:])}", width="content")
        st.text(
            " · ".join(part for part in (case.question, case.modality, f"study {case.study_key[:6]}", named) if part)
        )
    rows = worklist(results)
    following = (
        next_unread(rows, case.key)
        if session.shows_ai and not st.session_state["hidden"]
        else next_unread(unaided(rows), case.key, session.reader)
    )
    if right.button("Next unreviewed", key="next", shortcut="n", width="stretch", disabled=following is None):
        assert following is not None
        open_case(following.key)


def back() -> None:
    del st.query_params["case"]
    st.rerun()


def answer(case: Case) -> None:
    """The AI's decision in one line, with what it rests on."""
    prediction, doubt = case.prediction, case.uncertainty
    parts = [
        f"{prediction.score_name} {plus_minus(prediction.score, doubt.score_sd)} ({doubt.method})",
        f"threshold {prediction.threshold:.2f} ({prediction.threshold_origin})",
        *learned(case),
        *case.decision.reasons,
    ]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(case.decision.text, color=COLOURS[case.decision.text])
        st.text("  ·  ".join(parts))


def learned(case: Case) -> list[str]:
    """What calibration patients and training cases say, where the bundle holds them."""
    found, support = case.prediction.conformal_set, case.prediction.support
    said = [] if found is None else [f"{found.name}: {found.text}"]
    return said if support is None else [*said, f"support: {support.text}"]
