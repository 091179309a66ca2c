"""The record for machines: the same words, all numbers, nothing that names anybody, and the same again tomorrow."""

import json

import numpy as np

from medcam.reports import DISCLAIMER, write_reports
from medcam.reports._content import content
from medcam.reports.base import Context
from tests.reports.conftest import CANARIES, keep


def load(folder, key):
    return json.loads((folder / key / f"{key}.json").read_text(encoding="utf-8"))


def test_numbers_are_those_of_the_case(anonymous, cases):
    for case in cases.values():
        record = load(anonymous, case.key)
        assert record["medcam_report"] == 1
        assert record["case"]["prediction"]["score"] == case.prediction.score
        assert record["case"]["uncertainty"]["scores"] == dict(case.uncertainty.scores)
        assert record["case"]["regions"][0]["start"] == list(case.regions[0].start)
        assert record["case"]["provenance"]["model_hash"] == case.provenance.model_hash
        evidence = record["evidence"]["explanation.evidence"]
        assert evidence["shape"] == list(case.explanation.evidence.shape)
        assert evidence["max"] == float(np.max(case.explanation.evidence))


def test_words_are_those_of_the_other_reports(anonymous, results, cases):
    case = cases["volume, flagged"]
    record = load(anonymous, case.key)
    said = content(case, Context(results, record["created"])).to_dict()
    assert record["report"] == json.loads(json.dumps(said))
    assert record["report"]["disclaimer"] == DISCLAIMER


def test_all_verdicts_are_kept(anonymous, results):
    judged = [load(anonymous, key) for key in results.keys()]  # noqa: SIM118
    (record,) = [record for record in judged if record["verdicts"]]
    assert [v["agreement"] for v in record["verdicts"]] == ["unsure", "accept", "reject"]


def test_no_identifier_unless_asked_for(anonymous, identified, results):
    for key in results.keys():  # noqa: SIM118
        text = (anonymous / key / f"{key}.json").read_text(encoding="utf-8")
        for canary in CANARIES:
            assert canary not in text
        assert load(anonymous, key)["identifiers"] is None
        ids = load(identified, key)["identifiers"]
        assert ids["patient_name"] == "Canary^Patient"
        assert ids["birth_date"] == "19330303"


def test_age_and_sex_go_where_the_identifiers_go(scratch, cases, tmp_path):
    case = keep(scratch, cases["image, flagged"], facts={"PatientAge": "091Y", "PatientSex": "F", "ViewPosition": "PA"})
    write_reports(scratch, ["json"], tmp_path / "a", cases=[case.key])
    write_reports(scratch, ["json"], tmp_path / "b", cases=[case.key], include_identifiers=True)
    assert load(tmp_path / "a", case.key)["case"]["facts"] == {"ViewPosition": "PA"}
    assert load(tmp_path / "b", case.key)["case"]["facts"]["PatientAge"] == "091Y"


def test_two_runs_give_the_same_but_for_the_time(results, cases, tmp_path):
    for case in cases.values():
        write_reports(results, ["json"], tmp_path / "a", cases=[case.key])
        write_reports(results, ["json"], tmp_path / "b", cases=[case.key])
        texts = [(tmp_path / name / case.key / f"{case.key}.json").read_text(encoding="utf-8") for name in "ab"]
        records = [json.loads(text) for text in texts]
        shown = [row for s in records[0]["report"]["sections"] for b in s["blocks"] for row in b.get("rows", [])]
        assert [row[0] for row in shown if row[0] == "Reported"] == ["Reported"]
        for record in records:
            record["created"] = ""
            for section in record["report"]["sections"]:
                for block in section["blocks"]:
                    block["rows"] = [row for row in block.get("rows", []) if row[0] != "Reported"]
        assert records[0] == records[1]
