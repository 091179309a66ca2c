"""The reader's side of the page: first read, verdict, and what was saved."""

import streamlit as st
from plain import plain

from medcam.errors import MedcamError
from medcam.findings import Case
from medcam.results import Results
from medcam.review.session import AGREEMENTS, FIRST_ANSWERS, WHY, Session, begin

KEYS = {"accept": "a", "reject": "x", "unsure": "u", "present": "1", "absent": "2", "uncertain": "3"}


def session(results: Results, key: str, reader: str, hidden: bool) -> Session:
    """The sitting that is under way, or a new one where case, reader or mode have changed."""
    asked = (key, reader, hidden)
    if st.session_state.get("asked") != asked:
        seen = key in st.session_state.setdefault("seen", set())
        st.session_state["sitting"] = begin(results.folder, key, reader, hidden and not seen)
        st.session_state["asked"] = asked
    current: Session = st.session_state["sitting"]
    if current.shows_ai:
        st.session_state["seen"].add(key)
    return current


@st.fragment
def form(case: Case, current: Session) -> None:
    if current.shows_ai:
        verdict(case, current)
    else:
        first_read(case, current)


def first_read(case: Case, current: Session) -> None:
    st.markdown("**First read**")
    if current.stage == "locked":
        st.text(f"Locked: {current.first_answer}")
        if st.button("Show the AI's result", key="reveal", type="primary", width="stretch"):
            advance(current.reveal())
        return
    st.text(f"Do you see this finding: {case.finding}?")
    answer = choice(f"first-{case.key}", FIRST_ANSWERS)
    if st.button("Lock my answer and show the AI", key="lock", type="primary", width="stretch", disabled=not answer):
        try:
            advance(current.lock(answer).reveal())
        except MedcamError as error:
            st.error(plain(str(error)))


def verdict(case: Case, current: Session) -> None:
    st.markdown("**Your verdict on the AI's result**")
    key, words = st.session_state.get("saved", ("", ""))
    if key == case.key:
        st.success(plain(words))
    if current.first_answer:
        st.text(f"Your locked first read: {current.first_answer}")
    agreement = choice(f"agreement-{case.key}", AGREEMENTS)
    entry = st.session_state.get("entry", 0)  # a new one after each saved verdict, so that its fields begin empty
    reason = st.selectbox("Reason", WHY, index=None, key=f"reason-{case.key}-{entry}", placeholder="Needed to reject")
    comment = st.text_area("Comment", key=f"comment-{case.key}-{entry}", height=90, max_chars=4000)
    if st.button("Save verdict", key="save", type="primary", width="stretch", shortcut="s", disabled=not agreement):
        try:
            following, stored = current.judge(case, agreement, reason or "", comment)
        except MedcamError as error:
            st.error(plain(str(error)))
            return
        st.session_state["entry"] = entry + 1
        st.session_state.pop(f"agreement-{case.key}", None)
        st.session_state["saved"] = (case.key, f"Saved: {stored.agreement} by {stored.reader}")
        advance(following)


def choice(name: str, options: tuple[str, ...]) -> str:
    """One of the options, by button or by key; "" until one is chosen."""
    chosen = st.session_state.get(name, "")
    with st.container(key="choice"):
        for place, option in zip(st.columns(len(options), gap="xsmall"), options, strict=True):
            place.button(
                option.capitalize(),
                key=f"{name}-{option}",
                type="primary" if option == chosen else "secondary",
                width="stretch",
                shortcut=KEYS[option],
                on_click=st.session_state.__setitem__,
                args=(name, option),
            )
        st.caption("Keys: " + ", ".join(f"{KEYS[option].upper()} {option}" for option in options))
    return chosen


def advance(following: Session) -> None:
    st.session_state["sitting"] = following
    st.rerun()
