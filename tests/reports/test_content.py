"""The rules of what a report says: every sentence that somebody's safety hangs on."""

from dataclasses import replace

import numpy as np

from medcam.findings import CAPTION, ConformalSet, Judged, LeftOut, Neighbour, Uncertainty, Verdict, decide
from medcam.reports._content import content
from medcam.reports.base import DISCLAIMER, Context
from medcam.study import Reason

NOW = "2026-02-03T04:05:06Z"
ORDER = ["patient", "technique", "finding", "images", "regions", "review", "limits", "model", "provenance"]


def said(results, case, **context):
    return content(case, Context(results, NOW, **context))


def words(said_content, name=None):
    """Everything that is said, or what one section says."""
    sections = said_content.sections if name is None else [s for s in said_content.sections if s.name == name]
    found = []
    for section in sections:
        for block in section.blocks:
            data = block.to_dict()
            rows = [cell for row in data.get("rows", []) for cell in row]
            found += [*data.get("lines", []), *data.get("captions", []), *data.get("head", []), *rows]
            found += [data["title"]] if data.get("title") else []
    return "\n".join(found)


def rows(said_content, name):
    """Named values of a section."""
    (section,) = [s for s in said_content.sections if s.name == name]
    return {row[0]: row[1] for block in section.blocks for row in getattr(block, "rows", ()) if len(row) == 2}


def test_sections_stand_in_one_order_for_every_kind(results, cases):
    for case in cases.values():
        assert [section.name for section in said(results, case).sections] == ORDER


def test_score_threshold_and_their_origin(results, cases):
    case = cases["image, flagged"]
    report = said(results, case)
    assert report.decision == "flagged"
    assert report.score == "uncalibrated score 0.881, threshold 0.500"
    finding = rows(report, "finding")
    assert finding["Uncalibrated score"] == "0.881 (logit 2.000)"
    assert finding["Threshold"] == "0.500, Youden on 60 validation phantoms"
    assert finding["Why"] == "uncalibrated score 0.881 is at or above the threshold 0.500"
    assert "probability" not in words(report), "an uncalibrated score is never called one"


def test_not_flagged_is_never_normal(results, cases):
    report = said(results, cases["image, not flagged"])
    assert report.decision == "not flagged"
    assert report.tone == "quiet"
    assert (
        '"Not flagged" means that the score lies below the threshold. It does not mean that the image is normal.'
        in (words(report, "finding"))
    )
    for case in cases.values():
        everything = words(said(results, case)).lower()
        assert everything.replace("does not mean that the image is normal", "").count("normal") == 0
        assert "does not mean that the image is normal" in words(said(results, case), "limits")


def test_a_demonstration_model_decides_nothing(results, cases):
    report = said(results, cases["cine, demonstration only"])
    assert report.decision == "demonstration only"
    assert report.tone == "demonstration"
    assert "Demonstration only. The model was trained on synthetic images to show the software." in words(report)
    assert "trained on phantoms, not on patients" in words(report, "model")
    assert "flagged" not in rows(report, "finding")["Decision"]


def test_uncertainty_in_words_and_in_numbers(results, cases):
    case = cases["image, flagged"]
    report = said(results, case)
    spread = rows(report, "finding")["Uncertainty"]
    assert spread.startswith("augmentation variability: 8 disturbances move the score between 0.811 and 0.951, ")
    assert spread.endswith("standard deviation 0.046; the decision holds under all of them")
    for name, score in case.uncertainty.scores.items():
        assert rows(report, "finding")[name] == f"{score:.3f}"
    doubtful = rows(said(results, cases["image, refer"]), "finding")["Uncertainty"]
    assert "under 4 of them the score falls on the other side of the threshold" in doubtful  # 0.502 -0.07 ... +0.07
    unmeasured = replace(case, uncertainty=Uncertainty("none", {}, None))
    assert rows(said(results, unmeasured), "finding")["Uncertainty"] == "not measured"


def test_what_calibration_and_training_say_stands_in_one_line_each(results, cases):
    case = cases["image, flagged"]
    plain = rows(said(results, case), "finding")
    assert "Support" not in plain
    assert not [name for name in plain if "conformal" in name]
    neighbours = tuple(Neighbour(f"{n:016x}", "f" * 16, n != 3, n < 3, 1.0 + n) for n in range(5))
    prediction = replace(
        case.prediction,
        score=0.83,
        score_name="calibrated probability",
        threshold=0.41,
        threshold_origin="Youden on 120 calibration patients",
        conformal_set=ConformalSet(("opacity",), "opacity", 0.1, 40),
        support=Judged(3, 0.4, 1.0, 7.0, 1.2, 1.0, False, False, neighbours),
    )
    doubt = Uncertainty("ensemble", {"a": 0.8, "b": 0.9}, 0.05, 0.5, 0.45, 0.05, 0.71)
    decided = decide(prediction, doubt, demonstration=False)
    report = said(results, replace(case, prediction=prediction, uncertainty=doubt, decision=decided))
    assert report.score == "calibrated probability 0.830, threshold 0.410"
    finding = rows(report, "finding")
    assert finding["Calibrated probability"] == "0.830 (logit 2.000)"
    assert finding["Threshold"] == "0.410, Youden on 120 calibration patients"
    assert finding["90 % conformal set"] == "opacity"
    assert finding["Support"] == (
        "3 of the 5 nearest training cases agree, within the training range; support 1.20 (reliable from 1.00)"
    )
    assert finding["0000000000000003"] == "without the finding, does not agree"
    assert finding["Uncertainty"].startswith("deep ensemble: 2 networks move the score between 0.800 and 0.900")
    assert finding["Uncertainty"].endswith(
        "entropy 0.500 nats, 0.450 aleatoric (the networks share it) and 0.050 epistemic (they differ); "
        "the maps overlap by 71%"
    )
    assert "uncalibrated" not in words(report)


def test_pooling_names_the_frame(results, cases):
    case = cases["cine, demonstration only"]
    scores = tuple(0.1 * n for n in range(10))
    pooled = replace(case, prediction=replace(case.prediction, part_scores=scores, pooling="attention"))
    report = said(results, pooled)
    assert rows(report, "finding")["Pooling"] == (
        "pooled by attention over 10 frames; highest 0.900 at frame 10, 0.45 s, lowest 0.000"
    )
    assert "Uncalibrated score of each frame before pooling." in words(report, "images")


def test_attention_names_frames_of_the_source_though_the_model_saw_only_some(results, cases):
    case = cases["cine, demonstration only"]
    every_second = case.grid.rescaled((5, *case.grid.shape[1:]), (2, 1, 1), (1, 0, 0))  # frames 2, 4, 6, 8, 10
    seen = replace(case.explanation, input_grid=replace(every_second, frame_times_s=None))
    prediction = replace(
        case.prediction,
        part_scores=(0.1, 0.2, 0.9, 0.3, 0.1),
        part_weights=(0.05, 0.1, 0.4, 0.3, 0.15),
        pooling="attention",
    )
    finding = rows(said(results, replace(case, prediction=prediction, explanation=seen)), "finding")
    assert "highest 0.900 at frame 6, 0.25 s" in finding["Pooling"]
    assert finding["Attention"] == "half of the score's attention lies on 2 of 5 frames; most, 40%, on frame 6, 0.25 s"
    assert "Attention" not in rows(said(results, case), "finding")


def test_technique_says_what_was_taken_and_what_was_left_out_and_why(results, cases):
    case = replace(
        cases["volume, flagged"],
        left_out=(LeftOut("scout", Reason("localiser")), LeftOut("thick", Reason("not-preferred", "5 mm, not 1 mm"))),
    )
    text = words(said(results, case), "technique")
    assert "volume, 12 slices of 64 x 80 pixels; slices 5 mm apart, pixels 2 x 2 mm" in text
    assert "the only series of the study" in text
    assert "rescale" in text
    assert "scout\nlocaliser\nA localiser or scout is not part of the volume; nothing to do." in text
    assert "thick\nnot-preferred\n5 mm, not 1 mm" in text
    assert "No other series of the study was left out." in words(said(results, replace(case, left_out=())), "technique")
    assert "at the detector" in words(said(results, cases["image, flagged"]), "technique")


def test_captions_say_what_the_map_is_not(results, cases):
    for case in cases.values():
        text = words(said(results, case), "images")
        assert CAPTION in text
        assert "in logit" in text
    assert "Slice 8 of 12. Peak of the evidence." in words(said(results, cases["volume, flagged"]), "images")
    assert "Frame 7 of 10. Peak of the evidence (at 0.30 s)." in words(
        said(results, cases["cine, demonstration only"]), "images"
    )


def test_captions_do_not_say_the_same_twice(results, cases):
    case = cases["volume, flagged"]
    (picture,) = case.key_images
    named = replace(case, key_images=(replace(picture, caption="slice 8 of 12, strongest evidence"),))
    assert "\nSlice 8 of 12, strongest evidence.\n" in f"\n{words(said(results, named), 'images')}\n"


def test_notes_of_the_explanation_stand_with_the_pictures(results, cases):
    case = cases["image, flagged"]
    notes = ("the map is the same everywhere: it locates nothing", "layer 3 was picked")
    noted = said(results, replace(case, explanation=replace(case.explanation, notes=notes)))
    (images,) = [section for section in noted.sections if section.name == "images"]
    assert images.blocks[0].tone == "warning"
    assert images.blocks[0].lines == ("The map is the same everywhere: it locates nothing.",)
    assert images.blocks[-1].lines[-1] == "Layer 3 was picked."
    faint = replace(case.explanation, evidence=case.explanation.evidence * 0.05)
    assert "does the evidence reach a quarter of full colour, so nothing is painted." in words(
        said(results, replace(case, explanation=faint)), "images"
    )
    nothing = replace(case.explanation, display_range=(0.0, 0.0), evidence=np.zeros_like(case.explanation.evidence))
    empty = replace(case, explanation=nothing, regions=())
    assert "The map is empty: there is no evidence to show." in words(said(results, empty), "images")
    assert "No region: nowhere does the evidence reach" in words(said(results, empty), "regions")


def test_pictures_that_may_name_the_patient_are_announced(results, cases):
    warning = "Names may be burned into the source's pixels"
    cine = cases["cine, demonstration only"]
    assert warning in words(said(results, cine), "images"), "ultrasound often writes on its images"
    assert warning not in words(said(results, replace(cine, facts={"BurnedInAnnotation": "NO"})), "images")
    assert warning not in words(said(results, replace(cine, phantom=True)), "images")
    image = cases["image, flagged"]
    assert warning not in words(said(results, image), "images")
    assert warning in words(said(results, replace(image, facts={"BurnedInAnnotation": "YES"})), "images")


def test_regions_in_pixels_millimetres_slices_and_seconds(results, cases):
    text = words(said(results, cases["volume, flagged"]), "regions")
    assert "7-8 (peak 8)\n32-39 (peak 36)\n40-49 (peak 45)\n10 x 16 x 20 mm\n4\n90%\n2" in text
    text = words(said(results, cases["cine, demonstration only"]), "regions")
    assert "6-7 (peak 7)\n0.25-0.35\n30-36 (peak 33)\n40-49 (peak 45)\n3.5 x 5 mm" in text


def test_unreviewed_is_said(results, cases):
    report = said(results, cases["image, flagged"])
    assert report.reviewed == "Unreviewed: AI output, not verified by a human."
    assert "The software writes no impression; it belongs to the reader." in words(report, "review")


def verdict(case, reader, agreement, **more):
    made = {"time": "2026-01-02T03:04:05Z", "model_version": "1", "model_hash": case.provenance.model_hash, **more}
    return Verdict(case.key, reader, agreement, **made)


def test_the_latest_verdict_of_each_reader_counts(results, cases):
    case = cases["image, flagged"]
    given = (
        verdict(case, "A", "reject", reason="first thought"),
        verdict(case, "A", "accept", reason="second thought", comment="seen", first_read="present"),
    )
    report = said(results, case, verdicts=given)
    assert report.reviewed == "Reviewed by A on 2026-01-02 03:04 UTC: accept."
    text = words(report, "review")
    assert "A\naccept\nsecond thought\nseen\npresent\n2026-01-02 03:04 UTC\n1" in text
    assert "first thought" not in text
    assert "1 earlier verdict of the same readers stand" in text
    assert "disagree" not in text


def test_disagreement_and_verdicts_on_another_model_are_said(results, cases):
    case = cases["image, flagged"]
    given = (verdict(case, "A", "accept"), verdict(case, "B", "reject", model_version="0.9", model_hash="old"))
    report = said(results, case, verdicts=given)
    assert report.reviewed == "Reviewed by 2 readers, who disagree."
    text = words(report, "review")
    assert "Readers disagree: A accepts the AI finding; B rejects the AI finding." in text
    assert "B judged another model (version 0.9) than the one reported." in text
    assert "A judged another model" not in text


def test_identifiers_only_where_they_are_handed_over(results, cases):
    case = replace(
        cases["image, flagged"], facts={"PatientAge": "091Y", "PatientSex": "F", "BodyPartExamined": "CHEST"}
    )
    without = words(said(results, case))
    assert "left out of this report" in without
    assert "091Y" not in without
    assert "Patient sex" not in without
    source = results.series(case.key)
    named = words(said(results, case, identifiers=source.identifiers, source=source))
    for value in (source.identifiers.patient_name, source.identifiers.patient_id, source.identifiers.study_uid, "091Y"):
        assert value in named


def test_provenance_can_repeat_the_result(results, cases):
    case = cases["image, flagged"]
    text = words(said(results, case))
    made = case.provenance
    for value in (made.medcam_version, made.pipeline_hash, made.model_hash, made.source_hash, "2.13.0", "seed 0"):
        assert value in text
    assert "2026-02-03 04:05 UTC" in text
    assert "2026-01-01 00:00 UTC" in text


def test_the_disclaimer(results, cases):
    assert said(results, cases["image, flagged"]).disclaimer == DISCLAIMER
    assert DISCLAIMER == "Research use only - not for diagnostic use"


def test_a_phantom_is_called_one(results, cases):
    assert "not a patient" not in words(said(results, cases["image, flagged"]))
    phantom = replace(cases["image, flagged"], phantom=True)
    assert "phantom: a synthetic image, not a patient" in words(said(results, phantom), "patient")
