import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from medcam.data.labelling import Labelling
from medcam.data.leak import check
from medcam.data.manifest import Manifest
from medcam.data.splits import SIDES, HashedSplit, Split, from_column, hold_out, k_fold, nested, take_out
from medcam.errors import UsageError

FORTY = [f"p{number}" for number in range(40) for _ in range(5)]
QUARTER = np.array([[float(number < 10)] for number in range(40) for _ in range(5)], np.float32)
"""40 patients with 5 images each, 10 patients positive."""


def world(seed: int, labels: int = 3, one_hot: bool = False) -> tuple[list[str], np.ndarray]:
    """60 to 100 patients with 1 to 12 images; labels from frequent to rare."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(60, 100))
    images = rng.integers(1, 13, count)
    if one_hot:
        table = np.eye(labels)[rng.choice(labels, count, p=np.array([6, 3, 1][:labels]) / 10)]
    else:
        table = rng.random((count, labels)) < np.array([0.5, 0.3, 0.15])[:labels]
    patients = np.repeat([f"p{number}" for number in range(count)], images)
    return patients.tolist(), np.repeat(table, images, axis=0).astype(np.float32)


def refused(code: str, make: object, *arguments: object, **more: object) -> str:
    with pytest.raises(UsageError) as caught:
        make(*arguments, **more)  # type: ignore[operator]
    assert caught.value.code == code
    return str(caught.value)


def shares(split: Split, patients: list[str], targets: np.ndarray) -> dict[str, np.ndarray]:
    """For each side the share of each label among its patients."""
    first = dict(zip(patients, targets, strict=True))
    return {
        s: np.mean([first[p] for p, on in split.sides.items() if on == s], axis=0) for s in set(split.sides.values())
    }


def test_forty_patients_of_whom_a_quarter_is_positive() -> None:
    folds = k_fold(FORTY, QUARTER, 5)
    for split in folds:
        sides = split.indices(FORTY)
        assert QUARTER[sides["test"]].mean() == 0.25
        assert len(sides["test"]) == 40
    for _, test in StratifiedGroupKFold(5).split(QUARTER, QUARTER[:, 0], FORTY):  # the same shares as scikit-learn's
        assert QUARTER[test].mean() == 0.25
    grouped = [{FORTY[i] for i in split.indices(FORTY)["test"]} for split in folds]
    assert sum(len(group) for group in grouped) == len(set.union(*grouped)) == 40  # no patient in two folds


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("one_hot", [True, False])
def test_every_patient_is_on_one_side_whatever_the_seed_and_order(seed: int, one_hot: bool) -> None:
    patients, targets = world(seed, one_hot=one_hot)
    order = np.random.default_rng(seed).permutation(len(patients))
    shuffled, moved = [patients[i] for i in order], targets[order]
    for made, again, other in (
        ([make(patients, targets, seed=seed)] if make is hold_out else make(patients, targets, 5, seed),
         [make(shuffled, moved, seed=seed)] if make is hold_out else make(shuffled, moved, 5, seed),
         [make(patients, targets, seed=seed + 1)] if make is hold_out else make(patients, targets, 5, seed + 1))
        for make in (hold_out, k_fold)
    ):  # fmt: skip
        assert made == again != other
        for split in made:
            assert set(split.sides) == set(patients)
            assert set(split.sides.values()) == set(SIDES)
            indices = split.indices(patients)
            assert sorted(np.concatenate(list(indices.values()))) == list(range(len(patients)))
            check(split.of(patients), patients)
    tests = [p for split in k_fold(patients, targets, 5, seed) for p, side in split.sides.items() if side == "test"]
    assert sorted(tests) == sorted(set(patients))  # each is tested once


@pytest.mark.parametrize("seed", range(6))
def test_single_labels_are_on_each_side_as_often_as_whole_patients_allow(seed: int) -> None:
    patients, targets = world(seed, one_hot=True)
    split = hold_out(patients, targets, seed=seed)
    count = len(split.sides)
    owner = {p: int(t.argmax()) for p, t in zip(patients, targets, strict=True)}
    for side, share in (("training", 0.6), ("validation", 0.1), ("calibration", 0.15), ("test", 0.15)):
        there = [owner[p] for p, on in split.sides.items() if on == side]
        for label in range(3):
            patients_with_it = list(owner.values()).count(label)
            assert there.count(label) >= (patients_with_it >= 4)
            assert abs(there.count(label) - share * patients_with_it) <= 2
        assert abs(len(there) - share * count) <= 3


@pytest.mark.parametrize("seed", range(6))
def test_several_labels_are_better_balanced_than_by_chance(seed: int) -> None:
    patients, targets = world(seed)
    whole = np.mean([targets[patients.index(p)] for p in sorted(set(patients))], axis=0)
    ours, chance = 0.0, 0.0
    rng = np.random.default_rng(seed)
    for split in k_fold(patients, targets, 5, seed, within={}):
        ours += float(np.abs(shares(split, patients, targets)["test"] - whole).sum())
    for _ in range(20):
        names = sorted(set(patients))
        sides = rng.permutation(np.arange(len(names)) % 5)
        for fold in range(5):
            members = [targets[patients.index(p)] for p, side in zip(names, sides, strict=True) if side == fold]
            chance += float(np.abs(np.mean(members, axis=0) - whole).sum()) / 20
    assert ours < 0.5 * chance


def test_large_patients_are_spread_so_that_folds_hold_about_as_many_images() -> None:
    rng = np.random.default_rng(0)
    images = rng.permutation([100] * 5 + [50] * 5 + [2] * 30)
    patients = np.repeat([f"p{n}" for n in range(40)], images).tolist()
    targets = np.ones((len(patients), 1), np.float32)
    targets[[p in ("p1", "p2", "p3", "p4", "p5", "p6") for p in patients]] = 0
    sizes = [len(split.indices(patients)["test"]) for split in k_fold(patients, targets, 5)]
    assert max(sizes) - min(sizes) <= 52


def test_a_patient_with_both_kinds_of_patches_counts_for_both() -> None:
    patients = [p for p in "abcdefgh" for _ in range(4)]
    targets = np.array([[1.0]] * 32, np.float32)
    targets[[0, 4]] = 0  # a and b have one healthy patch each: nobody is healthy as a whole
    folds = k_fold(patients, targets, 2)
    assert folds[0].sides["a"] != folds[0].sides["b"] or "test" not in (folds[0].sides["a"], folds[0].sides["b"])
    assert {next(n for n, f in enumerate(folds) if f.sides[p] == "test") for p in "ab"} == {0, 1}


def test_few_patients_fill_every_side_or_are_refused() -> None:
    patients, targets = list("abcdefgh"), np.array([[1.0, 0], [0, 1.0]] * 4, np.float32)
    for seed in range(10):
        for split in (hold_out(patients, targets, seed=seed), *k_fold(patients, targets, 2, seed)):
            assert set(split.sides.values()) == set(SIDES)
    assert "Only one patient has the finding" in refused("too-few-patients", hold_out, FORTY, np.eye(200, 1, -3))
    lonely = np.array([[float(p == "a"), float(p != "a")] for p in patients], np.float32)
    assert "Only one patient has label 1" in refused("too-few-patients", k_fold, patients, lonely, 2)
    assert "3 patients cannot be on 4 sides" in refused("too-few-patients", hold_out, list("abc"), np.ones((3, 1)))
    refused("too-few-patients", k_fold, patients, targets, 9)
    refused("bad-shares", k_fold, patients, targets, 1)


@pytest.mark.parametrize(
    "bad", [{"training": 0.5, "test": 0.4}, {"training": 1.2, "test": -0.2}, {"train": 0.5, "test": 0.5}]
)
def test_shares_that_are_none_are_refused(bad: dict[str, float]) -> None:
    refused("bad-shares", hold_out, FORTY, QUARTER, bad)
    refused("bad-shares", k_fold, FORTY, QUARTER, 5, within={"validation": 0.5, "calibration": 0.4})


def test_inner_folds_never_see_the_patients_who_report() -> None:
    patients, targets = world(3, one_hot=True)
    for both in nested(patients, targets, outer=4, inner=3):
        reporting = {p for p, side in both.outer.sides.items() if side == "test"}
        compared = [p for split in both.inner for p, side in split.sides.items() if side == "test"]
        assert len(both.inner) == 3
        assert sorted(compared) == sorted(set(patients) - reporting)
        assert all(reporting.isdisjoint(split.sides) for split in both.inner)


def test_sides_are_taken_out_of_training_only() -> None:
    base = Split({p: "test" if p in ("p0", "p39") else "training" for p in FORTY}, 0, "by hand")
    split = take_out(base, FORTY, QUARTER, {"validation": 0.25}, seed=1)
    assert [p for p, side in split.sides.items() if side == "test"] == ["p0", "p39"]
    assert list(split.sides.values()).count("validation") == 10  # a quarter of all 40
    assert take_out(split, FORTY, QUARTER, {"validation": 0.25, "test": 0.3}) == split  # they are there already
    refused("bad-shares", take_out, base, FORTY, QUARTER, {"validation": 1.0})
    refused("not-in-split", base.of, ["p0", "p77"])


def column(folder: Path, sides: str) -> Manifest:
    rows = [f"{n}.png,1,p{n // 2},{side}" for n, side in enumerate(sides.split(","))]
    for number in range(len(rows)):
        (folder / f"{number}.png").touch()
    path = folder / "manifest.csv"
    path.write_text("\n".join(["file,label,patient_id,split", *rows]))
    return Manifest.read(path)


def test_a_split_column_is_taken_at_its_word(tmp_path: Path) -> None:
    split = from_column(column(tmp_path, "Train,train,val,VAL,test,testing,calibration,cal"))
    assert split.sides == {"p0": "training", "p1": "validation", "p2": "test", "p3": "calibration"}
    assert "p0 (test, training)" in refused("patient-leak", from_column, column(tmp_path, "train,test"))
    assert "line 3: dev" in refused("bad-split-column", from_column, column(tmp_path, "train,dev"))
    assert "line 2: nothing" in refused("bad-split-column", from_column, column(tmp_path, ",train"))


def test_the_table_for_a_bundle_knows_patients_but_names_none() -> None:
    split = hold_out(FORTY, QUARTER)
    text = json.dumps(split.table("salt").to_dict())
    table = HashedSplit.from_dict(json.loads(text))
    assert all(table.side_of(patient) == side for patient, side in split.sides.items())
    assert table.side_of("p40") is None
    assert hashlib.sha256(b"saltp7").hexdigest()[:16] in table.sides
    assert not any(f'"{patient}"' in text for patient in split.sides)
    assert split.table("other salt").sides.keys().isdisjoint(table.sides)
    assert Split.from_dict(json.loads(json.dumps(split.to_dict()))) == split


def test_real_ultrasound_folds_hold_every_class_that_has_as_many_patients(shared_data: Path) -> None:
    rows = Manifest.read(shared_data / "ultrasound" / "manifest.csv").rows
    labelling = Labelling.parse(
        "", classes="healthy; covid19; pneumonia=bacterial_pneumonia; covid_negative_symptomatic"
    )
    used = [row for row in rows if labelling.target(row.label) is not None]
    patients = [row.patient_id for row in used]
    targets = np.array([labelling.target(row.label) for row in used], np.float32)
    for split in k_fold(patients, targets, 4):
        check(split.of(patients), patients)
        assert (targets[split.indices(patients)["test"]].sum(axis=0) > 0).all()
        assert (targets[split.indices(patients)["training"]].sum(axis=0) > 0).all()
