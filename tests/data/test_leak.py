from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from medcam.data.dataset import Images, load
from medcam.data.labelling import Labelling
from medcam.data.leak import check, near_identical
from medcam.data.manifest import Manifest
from medcam.errors import UsageError
from tests.data.pictures import picture

BINARY = Labelling.parse("x")


def images_of(arrays: list[npt.NDArray[np.generic]], exams: list[str] | None = None) -> Images:
    count = len(arrays)
    return Images.of(np.stack(arrays)[:, None], np.zeros((count, 1)), [f"p{n}" for n in range(count)], BINARY, exams)


def seen(seed: int) -> npt.NDArray[np.float64]:
    return picture(seed, (64, 64)) / 255


def test_a_patient_on_two_sides_is_named() -> None:
    check(["training", "training", "test"], ["a", "a", "b"])
    with pytest.raises(UsageError, match=r"One patient is .*: a \(test, training\)") as caught:
        check(["training", "test", "test"], ["a", "a", "b"])
    assert caught.value.code == "patient-leak"


def test_a_split_by_image_fails() -> None:
    patients = [f"p{n}" for n in range(40) for _ in range(5)]
    sides = np.random.default_rng(0).choice(["training", "test"], 200)
    with pytest.raises(UsageError, match=r"p0 \(test, training\), .* and \d+ more"):
        check(sides.tolist(), patients)


def test_copies_are_found_whatever_was_done_to_them() -> None:
    original = seen(0)
    small = np.asarray(Image.fromarray(picture(0, (64, 64))).resize((23, 23)).resize((64, 64))) / 255
    noisy = original + np.random.default_rng(1).normal(0, 0.03, original.shape)
    others = [seen(seed) for seed in range(1, 30)]
    copies = [original, 0.6 * original + 0.2, small, noisy]
    images = images_of([*copies, *others])
    found = near_identical(images, images.patients)
    assert {pair.indices for pair in found} == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert [pair.correlation for pair in found] == sorted((pair.correlation for pair in found), reverse=True)
    assert found[0].correlation == pytest.approx(1, abs=1e-3)  # stretched
    assert found[0].bits <= 2
    assert near_identical(images, ["training"] * 4 + ["test"] * 29) == ()  # on one side nothing is lost
    (pair,) = near_identical(images_of([original, original]), ["training", "test"])
    assert str(pair) == "0 (training) and 1 (test) look nearly the same: 0 of 64 bits apart, correlation 1.000"


def test_distance_and_correlation_are_those_of_the_slow_way() -> None:
    rng = np.random.default_rng(0)
    arrays = [np.kron(rng.random((8, 9)), np.ones((8, 32))) + rng.normal(0, 0.1, (64, 288)) for _ in range(3)]
    arrays += [array + rng.normal(0, 0.4, array.shape) for array in arrays]
    images = images_of([array.astype(np.float16) for array in arrays])
    found = {pair.indices: pair for pair in near_identical(images, images.patients, bits=64, correlation=-1)}
    assert len(found) == 15
    for at, pair in found.items():
        pictures = [images[index]["image"][0].numpy() for index in at]
        cells = [picture.reshape(8, 8, 9, 32).mean((1, 3)) for picture in pictures]
        one, other = ([c[row, n + 1] > c[row, n] for row in range(8) for n in range(8)] for c in cells)
        assert pair.bits == sum(a != b for a, b in zip(one, other, strict=True))
        thumbnails = [picture.reshape(32, 2, 32, 9).mean((1, 3)).ravel() for picture in pictures]
        assert pair.correlation == pytest.approx(np.corrcoef(thumbnails)[0, 1], abs=1e-4)


def test_of_many_alike_frames_the_best_pair_of_two_exams_is_told() -> None:
    rng = np.random.default_rng(0)
    frames = [seen(0) + rng.normal(0, spread, (64, 64)) for spread in (0.05, 0.02, 0.02, 0.05)]
    frames[2] = frames[1]
    (pair,) = near_identical(images_of(frames, ["a", "a", "b", "b"]), ["training"] * 2 + ["test"] * 2)
    assert (pair.exams, pair.sides, pair.indices, pair.bits) == (("a", "b"), ("training", "test"), (1, 2), 0)


def test_blank_pictures_are_like_no_other() -> None:
    blank = [np.full((64, 64), level) for level in (0.0, 0.0, 1.0)]
    assert near_identical(images_of(blank), ["a", "b", "c"]) == ()


def test_of_volumes_the_middle_is_compared() -> None:
    volumes = [np.stack([seen(seed), seen(7), seen(seed + 1)]) for seed in (0, 2)]
    (pair,) = near_identical(images_of(volumes), ["a", "b"])
    assert pair.correlation == pytest.approx(1)


def test_known_near_duplicates_of_real_ultrasound_are_found(shared_data: Path) -> None:
    """Clips of one examination (SOURCE.md) and others of the same kind, as if each clip were of its own patient."""
    manifest = Manifest.read(shared_data / "ultrasound" / "manifest.csv")
    alike = [("0409_set5_vid1", "0409_set5_vid2"), ("0409_set2_vid3", "0409_set2_vid4"), ("36_R2", "36_L2")]
    words = ("Pneu_northumbria_0409_set2_vid3", "Pneu_northumbria_0409_set2_vid4", "Pneu_northumbria_0409_set5",
             "Pneu_northumbria_0409_set6_vid5", "Reg_northumbria_1009_vid1", "Reg_liftl_case3_clip2")  # fmt: skip
    few = Manifest(manifest.path, tuple(row for row in manifest.rows if row.file.name.startswith(words)))
    labelling = Labelling.multilabel(["healthy"])
    images, left = load(few, labelling, "ultrasound", {"size": (160, 160)}, parts="frames")
    assert left == ()
    found = {frozenset(pair.exams) for pair in near_identical(images, images.exams)}
    assert found == {frozenset(f"Pneu_northumbria_{name}" for name in pair) for pair in alike[:2]}
    assert near_identical(images, images.patients) == ()  # as they are grouped in the manifest
