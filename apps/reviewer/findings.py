"""Below the viewer: regions, uncertainty, what was read and what was left out, verdicts, provenance."""

import streamlit as st
import viewer

from medcam.findings import Case, Region
from medcam.results import Results
from medcam.review.pictures import Pictures
from medcam.review.session import Session
from medcam.review.verdicts import verdicts_of


def show(results: Results, case: Case, pictures: Pictures, session: Session) -> None:
    if not session.shows_ai:
        series(case)
        return
    said = verdicts_of(results.folder, case.key)
    names = [f"Regions ({len(case.regions)})", "Uncertainty", "Series", f"Verdicts ({len(said)})"]
    tabs = st.tabs(names)
    with tabs[0]:
        regions(case, pictures)
    with tabs[1]:
        uncertainty(case)
    with tabs[2]:
        series(case)
    with tabs[3]:
        if said:
            fields = ("time", "reader", "agreement", "reason", "comment", "first_read", "model_version")
            rows = [{name.replace("_", " "): getattr(one, name) for name in fields} for one in reversed(said)]
            st.dataframe(rows, hide_index=True, key="history")
        else:
            st.text("Unreviewed: nobody has judged this result yet.")
    with st.expander("Provenance and limits"):
        st.text(f"Limits: {case.limits}")
        st.dataframe(facts(provenance(case)), hide_index=True, key="provenance")


def regions(case: Case, pictures: Pictures) -> None:
    if not case.regions:
        st.text("No region: the evidence nowhere reaches the threshold for one.")
        return
    rows = [row(case, region) for region in case.regions]
    stepped = len(pictures.planes) > 1
    st.dataframe(
        rows,
        key="regions",
        hide_index=True,
        on_select=(lambda: jump(case, pictures)) if stepped else "ignore",
        selection_mode=["single-row", "single-cell"],
        column_config={"Share of evidence": st.column_config.NumberColumn(format="percent")},
    )
    if stepped:
        st.caption("Click a region to go to its peak.")


def jump(case: Case, pictures: Pictures) -> None:
    selection = st.session_state["regions"].selection
    picked = [*selection.rows, *(number for number, _ in selection.cells)]
    if picked:
        region = case.regions[picked[0]]
        viewer.go(f"position-{case.key}", pictures.nearest(region.peak[0]))


def row(case: Case, region: Region) -> dict[str, object]:
    """One region in the words of the modality; slices and frames count from 1."""
    cells: dict[str, object] = {}
    if case.kind in ("volume", "cine"):
        name = "Slices" if case.kind == "volume" else "Frames"
        cells[name] = f"{region.start[0] + 1} to {region.stop[0]}"
        cells["Peak at"] = region.peak[0] + 1
    if region.interval_s is not None:
        cells["Seconds"] = f"{region.interval_s[0]:.2f} to {region.interval_s[1]:.2f}"
    cells["Row, column"] = f"{region.peak[-2]}, {region.peak[-1]}"
    if region.size_mm is not None:
        cells["Size (mm)"] = " x ".join(f"{size:.3g}" for size in region.size_mm)
    cells[f"Peak ({case.explanation.unit})"] = f"{region.peak_value:.3g}"
    cells["Share of evidence"] = region.mass
    return cells


def uncertainty(case: Case) -> None:
    doubt, support = case.uncertainty, case.prediction.support
    if doubt.score_sd is None:
        st.text("not measured")
    else:
        spread = f"standard deviation of the score {doubt.score_sd:.3f} over {len(doubt.scores)} variants"
        st.text("; ".join((f"{doubt.name}: {spread}", *doubt.parts)))
        rows = [{"Variant": name, "Score": score} for name, score in doubt.scores.items()]
        st.dataframe(rows, hide_index=True, key="uncertainty", column_config={"Score": number()})
    if support is not None:
        st.text(f"Support: {support.text}")
        near = [{"Patient": one.patient, "File": one.file, "Training case": one.text} for one in support.neighbours]
        st.dataframe(near, hide_index=True, key="neighbours")
        st.caption("Patients and files by their hashed names in the bundle, nearest first.")


def series(case: Case) -> None:
    st.text(f"Read: {case.selection}")
    st.dataframe(facts(dict(case.facts)), hide_index=True, key="facts")
    if case.left_out:
        st.text("Left out of this study:")
        rows = [{"Series": one.description, "Code": one.reason.code, "Why": one.reason.detail} for one in case.left_out]
        st.dataframe(rows, hide_index=True, key="left-out")


def provenance(case: Case) -> dict[str, str]:
    made, shown, prediction = case.provenance, case.explanation, case.prediction
    return {
        "Model": f"{made.model} {made.model_version}",
        "Model hash": made.model_hash,
        "Pipeline hash": made.pipeline_hash,
        "Source hash": made.source_hash,
        "Explanation": f"{shown.method} at {shown.layer}, unit {shown.unit}, alignment {shown.alignment}",
        "Threshold": f"{prediction.threshold:.3f}: {prediction.threshold_origin}",
        "Steps": "; ".join(made.steps),
        "Software": f"medcam {made.medcam_version}; " + ", ".join(f"{k} {v}" for k, v in made.libraries.items()),
        "Device, seed": f"{made.device}, {made.seed}",
        "Made": made.created,
    }


def facts(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"Fact": name, "Value": value} for name, value in values.items()]


def number() -> object:
    return st.column_config.NumberColumn(format="%.3f")
