"""The worklist page: what waits, in which order, and what was not scored."""

from typing import Any

import streamlit as st

from medcam.results import Results
from medcam.review.verdicts import check_chain
from medcam.review.worklist import Row, chosen, next_unread, unaided, worklist

HIDDEN_NOTE = "The AI's results are hidden; the order says nothing about them."


def open_case(key: str) -> None:
    """Go to a case; the worklist forgets its selection, or it would open the case again on the way back."""
    st.session_state["visit"] = st.session_state.get("visit", 0) + 1
    st.query_params["case"] = key
    st.rerun()


def show(results: Results, reader: str, hidden: bool) -> None:
    check_chain(results.folder)
    every = worklist(results)
    st.subheader("Worklist", anchor=False)
    st.caption(HIDDEN_NOTE if hidden else counts(every))
    rows = filtered(unaided(every) if hidden else every, reader, hidden)
    waiting = next_unread(rows, reader=reader if hidden else "")
    if st.button(
        "Open next unreviewed",
        key="open-next",
        type="primary",
        shortcut="n",
        icon=":material/arrow_forward:",
        disabled=waiting is None,
    ):
        assert waiting is not None
        open_case(waiting.key)
    if rows:
        table(results, rows, reader, hidden)
    else:
        st.info("No case passes the filters." if every else "This results folder holds no cases yet.")
    not_scored(results)


def counts(rows: list[Row]) -> str:
    refer = sum(row.outcome == "refer" for row in rows)
    waiting = sum(row.status == "unreviewed" for row in rows)
    differ = sum(row.status == "disagreement" for row in rows)
    parts = [f"{len(rows)} cases", f"{refer} to refer", f"{waiting} unreviewed", f"{differ} with disagreement"]
    return " · ".join(parts) + '. "Not flagged" does not mean normal.'


def filtered(rows: list[Row], reader: str, hidden: bool) -> list[Row]:
    pipelines = sorted({row.pipeline for row in rows})
    unread_help = "Keeps the cases that you have not judged yet."
    if hidden:
        first, last = st.columns([3, 1], vertical_alignment="bottom")
        taken = first.multiselect("Pipeline", pipelines, key="pipelines", format_func=words, placeholder="All")
        mine = last.toggle("Not read by me", key="unread", disabled=not reader, help=unread_help)
        return chosen(rows, pipelines=taken, unread_by=reader if mine else "")
    places = st.columns(5, vertical_alignment="bottom")
    choices = {
        "pipelines": ("Pipeline", pipelines),
        "decisions": ("Decision", sorted({row.decision for row in rows})),
        "statuses": ("Status", ["unreviewed", "reviewed", "disagreement"]),
        "readers": ("Read by", sorted({name for row in rows for name, _ in row.said})),
    }
    filters: dict[str, Any] = {
        name: place.multiselect(label, options, key=name, format_func=words, placeholder="All")
        for place, (name, (label, options)) in zip(places, choices.items(), strict=False)
    }
    mine = places[-1].toggle("Not read by me", key="unread", disabled=not reader, help=unread_help)
    return chosen(rows, **filters, unread_by=reader if mine else "")


def table(results: Results, rows: list[Row], reader: str, hidden: bool) -> None:
    columns: dict[str, list[Any]] = {"Question": [words(row.pipeline) for row in rows]}
    columns["Modality"] = [row.modality for row in rows]
    if st.session_state.get("identifiers"):
        columns["Patient"] = [patient(results, row.key) for row in rows]
    if hidden:
        columns["Read by you"] = ["yes" if reader and row.read_by(reader) else "no" for row in rows]
    else:
        columns |= {
            "Decision": [row.decision for row in rows],
            "Score": [row.score for row in rows],
            "± SD": [row.score_sd for row in rows],
            "Threshold": [row.threshold for row in rows],
            "Status": [row.status for row in rows],
            "Verdicts": [", ".join(f"{name}: {agreement}" for name, agreement in row.said) for row in rows],
            "Strongest evidence": [row.place for row in rows],
        }
    columns["Study"] = [row.key[:6] for row in rows]
    number = st.column_config.NumberColumn(format="%.2f", width=70)
    event = st.dataframe(
        columns,
        key=f"worklist-{st.session_state.get('visit', 0)}",
        hide_index=True,
        on_select="rerun",
        selection_mode=["single-row", "single-cell"],
        row_height=38,
        height=min(38 * (len(rows) + 1) + 3, 560),
        column_config={
            "Score": number,
            "± SD": st.column_config.NumberColumn(format="%.3f", width=70),
            "Threshold": st.column_config.NumberColumn(format="%.2f", width=80),
            "Question": st.column_config.TextColumn(width=160),
            "Modality": st.column_config.TextColumn(width=70),
            "Decision": st.column_config.TextColumn(width=130),
            "Status": st.column_config.TextColumn(width=110),
            "Verdicts": st.column_config.TextColumn(width=160),
            "Study": st.column_config.TextColumn(width=70, help="Pseudonym of the study in this folder"),
        },
    )
    picked = [*event.selection.rows, *(row for row, _ in event.selection.cells)]
    if picked:
        open_case(rows[picked[0]].key)
    st.caption("Click a row to open its case.")


def patient(results: Results, key: str) -> str:
    identifiers = results.identifiers(key)
    return f"{identifiers.patient_id} {identifiers.patient_name}".strip() if identifiers else ""


def not_scored(results: Results) -> None:
    refusals = results.refusals()
    if refusals:
        with st.expander(f"Not scored: {len(refusals)} series"):
            names = {
                "description": "Series",
                "pipeline": "Pipeline",
                "status": "Status",
                "code": "Code",
                "detail": "Why",
            }
            st.dataframe(
                [{label: row[name] for name, label in names.items()} for row in refusals],
                hide_index=True,
                key="refusals",
            )


def words(name: str) -> str:
    """A pipeline's name as a person writes it."""
    written = {"ct": "CT", "mr": "MR", "pet": "PET", "xray": "X-ray"}
    return " ".join(written.get(part, part) for part in name.split("_"))
