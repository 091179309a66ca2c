import functools
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from medcam.data import _loading, dataset
from medcam.data._pack import Pack
from medcam.data.dataset import Images
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from medcam.errors import ResultsError, UsageError
from medcam.readers import Decoder, index
from medcam.storage import lock
from medcam.transforms import compose, prepare
from tests.data.pictures import picture, write_cine, write_manifest, write_pictures
from tests.small_dicom import scene, write_ct, write_dx

ROOT = Path(__file__).resolve().parents[2]
load = functools.partial(dataset.load, workers=1)
"""One subprocess is enough for few files."""

BINARY = Labelling.parse("opacity")
SIZE = {"size": (32, 32)}


def by_screening(file: Path, transform: str, scratch: Path, **options: Any) -> torch.Tensor:
    """What screening shows the model of a file."""
    with Decoder() as decoder:
        (series,) = index(file, decoders=[decoder]).used
        return prepare(decoder.pixels(series, scratch), compose(transform, series.facts, **options)).tensor


def everything(images: Images) -> torch.Tensor:
    return torch.stack([images[i]["image"] for i in range(len(images))])


def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing may be decoded."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a file was decoded again")

    monkeypatch.setattr(_loading, "decode", never)


def test_examples_are_what_screening_sees_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    manifest = write_pictures(tmp_path, 7)
    ticks: list[tuple[int, int]] = []
    images, left = dataset.load(
        manifest, BINARY, "xray", SIZE, progress=lambda done, total: ticks.append((done, total))
    )
    assert left == ()
    assert ticks == [(n, 7) for n in range(1, 8)]
    for number in (0, 3, 6):
        seen = by_screening(manifest.rows[number].file, "xray", tmp_path, **SIZE)[0]
        example = images[number]
        assert example["image"].dtype == torch.float32
        assert (example["image"] - seen).abs().max() <= 2**-12  # kept as float16
        assert example["target"].tolist() == [number // 2 % 2]
        assert example["index"] == number
    assert images.targets[:, 0].tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert images.patients == ["p0", "p0", "p1", "p1", "p2", "p2", "p3"]
    assert images.exams == [f"{n}.png" for n in range(7)]
    assert images.rows.tolist() == list(range(7))
    assert images.sources[2].mean == pytest.approx(picture(2).mean())
    assert (images.sources[2].rows, images.sources[2].columns) == (48, 40)


def test_a_subset_and_a_users_transform_share_the_pixels(tmp_path: Path) -> None:
    images, _ = load(write_pictures(tmp_path, 6), BINARY, "xray", SIZE)
    part = images.subset(np.array([5, 0, 3]))
    assert [part[i]["index"] for i in range(3)] == [0, 1, 2]
    assert part.patients == ["p2", "p0", "p1"]
    assert torch.equal(part[0]["image"], images[5]["image"])
    part.subset([1])[0]["image"].zero_()  # a copy: nobody else's
    assert torch.equal(part[1]["image"], images[0]["image"])
    assert images[0]["image"].max() > 0.5
    assert torch.equal(images[-1]["image"], images[5]["image"])
    with pytest.raises(IndexError):
        images[6]
    part.transform = lambda example: {**example, "image": -example["image"]}
    assert torch.equal(part.subset([0])[0]["image"], -images[5]["image"])


def test_files_that_cannot_be_used_are_left_out_with_their_reason(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.csv").write_text("no image")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "0.png", tmp_path / "two" / "0.png")
    shutil.copy(tmp_path / "1.png", tmp_path / "two" / "1.png")
    rows = [("cut.png", "1", "a"), ("0.png", "0", "b"), ("text.csv", "1", "c"), ("nothing", "1", "d")]
    rows += [("two", "1", "e"), ("1.png", "no label of ours", "f")]
    images, left = load(write_manifest(tmp_path, rows), BINARY, "xray", SIZE)
    assert images.patients == ["b"]
    assert images.rows.tolist() == [1]
    found = {one.file: one.code for one in left}
    assert found.pop("cut.png") in ("truncated", "decode-failed")
    assert found == {"text.csv": "not-an-image", "nothing": "empty", "two": "not-one-image", "1.png": "other-label"}
    assert [one.line for one in left] == [2, 4, 5, 6, 7]


def test_a_folder_is_one_series(tmp_path: Path) -> None:
    write_ct(tmp_path / "series", scene((6, 20, 24), np.s_[2:4, 5:9, 5:9]) - 1024)
    options = {"size": (8, 16, 16), "spacing_mm": (4.0, 3.0, 3.0)}
    images, _ = load(write_manifest(tmp_path, [("series", "1", "p")]), BINARY, "ct", options)
    assert images.shape == (1, 8, 16, 16)
    seen = by_screening(tmp_path / "series", "ct", tmp_path, **options)[0]
    assert (images[0]["image"] - seen).abs().max() <= 2**-12


def test_two_patients_who_are_one_in_their_headers_are_refused(tmp_path: Path) -> None:
    values = scene((20, 24), np.s_[2:4, 5:9])
    for number, (person, study) in enumerate([("A", "1.2"), ("a ", "1.3"), ("B", "1.3"), ("C", "1.4"), ("C", "1.5")]):
        write_dx(tmp_path / f"{number}.dcm", values + number, study=study, PatientID=person)
    rows = [(f"{number}.dcm", "1", f"p{number}") for number in range(5)]
    said = refused("one-person", write_manifest(tmp_path, rows), BINARY, "xray", SIZE, cache=tmp_path / "cache")
    assert "p0 = p1" in said  # one id, one birth date
    assert "p1 = p2" in said  # one study
    assert "p3 = p4" in said
    refused("one-person", write_manifest(tmp_path, rows), BINARY, "xray", SIZE, cache=tmp_path / "cache")
    rows = [(file, label, ["p", "p", "p", "q", "q"][n]) for n, (file, label, _) in enumerate(rows)]
    images, _ = load(write_manifest(tmp_path, rows), BINARY, "xray", SIZE, cache=tmp_path / "cache")
    assert len(images) == 5
    for number in range(5):  # the same id for all, as somebody writes who removes names
        write_dx(tmp_path / f"{number}.dcm", values + number, study=f"1.{number}", PatientID="removed")
    rows = [(f"{number}.dcm", "1", f"p{number}") for number in range(5)]
    images, _ = load(write_manifest(tmp_path, rows), BINARY, "xray", SIZE)
    assert len(images) == 5
    assert "removed" not in (next((tmp_path / "cache").iterdir()) / "index.jsonl").read_text()


@pytest.mark.parametrize(("rate", "frames"), [(Fraction(25), 100), (Fraction(30000, 1001), 300), (Fraction(10), 21)])
def test_frames_are_those_of_the_paper(tmp_path: Path, rate: Fraction, frames: int) -> None:
    cine = np.stack([picture(0)] * frames)
    cine[:, 0, 0] = np.arange(frames) % 251  # tells the frame
    write_cine(tmp_path / "a.mkv", cine, rate)
    write_cine(tmp_path / "b.mkv", cine[:7], rate)
    manifest = write_manifest(tmp_path, [("a.mkv", "1", "p"), ("b.mkv", "0", "q")])
    options = {"size": cine.shape[1:], "percentiles": (0, 100)}
    images, _ = load(manifest, BINARY, "ultrasound", options, parts="frames")
    kept: dict[int, list[int]] = {}
    for row, total in ((0, frames), (1, 7)):  # as the paper's script goes through a video, frame by frame
        for number in range(total):
            if number % int(float(rate) / 3) == 0 and len(kept.setdefault(row, [])) < 30:
                kept[row].append(number)
    assert images.shape == (1, *cine.shape[1:])
    assert images.rows.tolist() == [0] * len(kept[0]) + [1] * len(kept[1])
    assert images.parts.tolist() == [*range(len(kept[0])), *range(len(kept[1]))]
    assert images.patients == ["p"] * len(kept[0]) + ["q"] * len(kept[1])
    levels = [round(255 * float(images[i]["image"][0, 0, 0])) for i in range(len(images))]
    assert levels == [number % 251 for number in kept[0] + kept[1]]


def test_a_still_has_no_frames(tmp_path: Path) -> None:
    write_cine(tmp_path / "a.mkv", np.stack([picture(0)] * 9), Fraction(9))
    Image.fromarray(picture(1)).save(tmp_path / "b.png")
    manifest = write_manifest(tmp_path, [("a.mkv", "1", "p"), ("b.png", "0", "q")])
    images, left = load(manifest, BINARY, "ultrasound", SIZE, parts="frames")
    assert len(images) == 3
    assert [(one.file, one.code) for one in left] == [("b.png", "preparation-failed")]


def refused(code: str, *arguments: Any, **more: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(*arguments, **more)
    assert caught.value.code == code
    return str(caught.value)


def test_what_cannot_become_one_set_of_examples_is_refused(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "grey.png")
    Image.fromarray(picture(1, (48, 40, 3))).save(tmp_path / "colour.png")
    mixed = write_manifest(tmp_path, [("grey.png", "1", "p"), ("colour.png", "0", "q")])
    said = refused("mixed-colour", mixed, BINARY, "histology", SIZE)
    assert "1 x 32 x 32 (line 2) and 3 x 32 x 32 (line 3)" in said
    for number, frames in enumerate((21, 16)):
        write_cine(tmp_path / f"{number}.mkv", np.stack([picture(0)] * frames), Fraction(10))
    cines = write_manifest(tmp_path, [("0.mkv", "1", "p"), ("1.mkv", "0", "q")])
    assert "1 x 11 x 32 x 32 (line 2) and 1 x 16 x 32 x 32 (line 3)" in refused(
        "mixed-size", cines, BINARY, "ultrasound", SIZE, cache=tmp_path / "cache"
    )
    refused("mixed-size", cines, BINARY, "ultrasound", SIZE, cache=tmp_path / "cache")  # also from the cache
    images, _ = load(cines, BINARY, "ultrasound", {**SIZE, "exact": True})
    assert images.shape == (1, 16, 32, 32)
    refused("bad-option", cines, BINARY, "ultrasound", {"width": 3})
    refused("bad-option", mixed, BINARY, "xray", SIZE, parts="frames")
    refused("unknown-transform", mixed, BINARY, "x-ray", SIZE)
    said = refused("nothing-to-load", mixed, Labelling.binary("x", ["ill"], ["well"]), "xray", SIZE)
    assert "other-label 2" in said
    assert "Labels there are: 1, 0." in said


def test_the_cache_is_read_where_nothing_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, cache = write_pictures(tmp_path, 6), tmp_path / "cache"
    first, _ = load(manifest, BINARY, "xray", SIZE, cache=cache)
    with monkeypatch.context() as patch:
        untouched(patch)
        again, _ = load(manifest, BINARY, "xray", SIZE, cache=cache)
        assert torch.equal(everything(again), everything(first))
        fewer = Manifest(manifest.path, manifest.rows[1::2])  # other rows and another labelling: the same pixels
        part, _ = load(fewer, Labelling.binary("x", ["0"], ["1"]), "xray", SIZE, cache=cache)
        assert torch.equal(everything(part), everything(first.subset([1, 3, 5])))
        assert part.targets[:, 0].tolist() == [1, 0, 1]
    (tmp_path / "3.png").write_bytes((tmp_path / "1.png").read_bytes())  # another picture under the same name
    changed, _ = load(manifest, BINARY, "xray", SIZE, cache=cache)
    assert torch.equal(everything(changed), everything(first.subset([0, 1, 2, 1, 4, 5])))
    other, _ = load(manifest, BINARY, "xray", {"size": (16, 32)}, cache=cache)
    assert other.shape == (1, 16, 32)
    assert len(list(cache.iterdir())) == 2
    assert not list(cache.rglob("*.npy"))  # no decoded pixels are left behind


def test_a_damaged_cache_is_made_anew_where_it_is_damaged(tmp_path: Path) -> None:
    manifest, cache = write_pictures(tmp_path, 6), tmp_path / "cache"
    whole = everything(load(manifest, BINARY, "xray", SIZE, cache=cache)[0])
    (folder,) = cache.iterdir()
    values, lines = folder / "images.f16", (folder / "index.jsonl").read_bytes()
    values.write_bytes(values.read_bytes()[: 4 * 32 * 32 * 2 + 77])  # four pictures and a piece of the fifth
    (folder / "index.jsonl").write_bytes(b"{}\nno json\n" + lines[:-20])
    assert len(Pack(folder).entries) == 4
    for _ in range(2):
        assert torch.equal(everything(load(manifest, BINARY, "xray", SIZE, cache=cache)[0]), whole)


def test_two_processes_do_not_write_at_once(tmp_path: Path) -> None:
    manifest, cache = write_pictures(tmp_path, 3), tmp_path / "cache"
    load(Manifest(manifest.path, manifest.rows[:1]), BINARY, "xray", SIZE, cache=cache)
    (folder,) = cache.iterdir()
    done: list[Images] = []
    other = lock(folder)
    waiting = threading.Thread(target=lambda: done.append(load(manifest, BINARY, "xray", SIZE, cache=cache)[0]))
    waiting.start()
    waiting.join(1.5)
    assert waiting.is_alive()
    other.close()
    waiting.join(60)
    assert len(done[0]) == 3


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    manifest, cache = write_pictures(tmp_path, 40), tmp_path / "cache"
    size = {"size": (128, 128)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (36 * 128 * 128 * 2, hard))
    try:
        with pytest.raises(ResultsError, match="No space left") as caught:
            load(manifest, BINARY, "xray", size, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk-full"
    (folder,) = cache.iterdir()
    assert 32 <= len(Pack(folder).entries) <= 36
    again, _ = load(manifest, BINARY, "xray", size, cache=cache)
    fresh, _ = load(manifest, BINARY, "xray", size)
    assert torch.equal(everything(again), everything(fresh))


SCRIPT = """
    import resource
    from pathlib import Path
    from medcam.data.dataset import load
    from medcam.data.labelling import Labelling
    from medcam.data.manifest import Manifest

    manifest = Manifest.read("manifest.csv")

    def memory():
        # MiB of this process that no file stands for, now; and of all, at most until now.
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line]
        return int(line.split()[1]) / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def go(rows, gib, size):
        tick = lambda done, total: print("done", done, flush=True)
        rows = Manifest(manifest.path, rows)
        cache = Path("cache") / str(size)
        options = {"size": (size, size)}
        return load(rows, Labelling.parse("x"), "xray", options, cache=cache, memory_gib=gib, progress=tick)[0]

    go(manifest.rows[:1], 1, 512)
    before, before_at_most = memory()
    images = go(manifest.rows, 0.05, 512)
    assert not images.in_memory
    images[0], images[119]
    mapped, at_most = memory()
    held = go(manifest.rows, 1, 512)
    assert held.in_memory
    print("MiB", mapped - before, at_most - before_at_most, memory()[0] - before, flush=True)
    go(manifest.rows, 1, 64)
"""


def test_a_large_set_stays_on_the_disk_and_a_killed_process_leaves_what_it_had(tmp_path: Path) -> None:
    """120 pictures are 60 MiB: as a mapped file they take no memory, in memory they do. Then the process is killed."""
    manifest = write_pictures(tmp_path, 120, (64, 64))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    said: list[str] = []
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        for line in run.stdout:
            said.append(line)
            if any(other.startswith("MiB") for other in said) and line == "done 70\n":
                run.send_signal(signal.SIGKILL)
                break
    mapped, at_most, held = next(map(float, line.split()[1:]) for line in said if line.startswith("MiB"))
    assert mapped < 25
    assert at_most < 45
    assert held > 55
    (folder,) = (tmp_path / "cache" / "64").iterdir()
    assert 33 <= len(Pack(folder).entries) < 120
    again, _ = load(manifest, BINARY, "xray", {"size": (64, 64)}, cache=tmp_path / "cache" / "64")
    fresh, _ = load(Manifest(manifest.path, manifest.rows[25:75]), BINARY, "xray", {"size": (64, 64)})
    assert torch.equal(everything(again.subset(np.arange(25, 75))), everything(fresh))
    assert not (folder / "decoding").exists()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_processes_share_a_file_that_goes_when_nobody_needs_it(tmp_path: Path) -> None:
    manifest = write_pictures(tmp_path, 8)
    held, _ = load(manifest, BINARY, "xray", SIZE)
    mapped, _ = load(manifest, BINARY, "xray", SIZE, memory_gib=0)
    assert (held.in_memory, mapped.in_memory) == (True, False)
    file = mapped._store.file
    assert file is not None
    assert len(pickle.dumps(mapped)) < 8 * 32 * 32 * 2 < len(pickle.dumps(held))  # a name, not the pixels
    for images in (held, mapped):
        batches = list(DataLoader(images, batch_size=3, num_workers=2))
        assert torch.equal(torch.cat([batch["image"] for batch in batches]), everything(held))
        assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(8))
        assert torch.equal(everything(pickle.loads(pickle.dumps(images))), everything(held))
    assert file.exists()
    del images, mapped
    assert not file.parent.parent.exists()


def test_arrays_can_be_images_too() -> None:
    images = Images.of(np.arange(24).reshape(2, 3, 2, 2), [[0], [1]], ["p", "q"], BINARY)
    assert images[1]["image"][2].tolist() == [[20, 21], [22, 23]]
    with pytest.raises(ValueError, match="2 images, 1 targets"):
        Images.of(np.zeros((2, 1, 4, 4)), [[0]], ["p", "q"], BINARY)


def test_real_images(shared_data: Path, tmp_path: Path) -> None:
    """A few of each real manifest; all of them take under a minute."""
    cases = (
        ("cxr_lowres320", "xray", {"size": (160, 160)}, {}, (1, 160, 160), 15),
        ("cxr", "xray", {"size": (160, 160)}, {}, (1, 160, 160), 4),
        ("histology", "histology", {"size": (48, 48)}, {"file": "idc/*"}, (3, 48, 48), 15),
    )
    begun = time.monotonic()
    for folder, transform, options, where, shape, count in cases:
        manifest = Manifest.read(shared_data / folder / "manifest.csv", where)
        few = Manifest(manifest.path, manifest.rows[:: len(manifest.rows) // count][:count])
        images, left = load(few, Labelling.multilabel([few.rows[0].label]), transform, options, cache=tmp_path)
        assert (len(images), images.shape, left) == (count, shape, ())
        assert [few.rows[row].patient_id for row in images.rows] == images.patients
        assert all(float(images[i]["image"].std()) > 0.01 for i in range(count))
    assert time.monotonic() - begun < 60


def test_real_ultrasound_frames(shared_data: Path) -> None:
    manifest = Manifest.read(shared_data / "ultrasound" / "manifest.csv")
    by_codec = {row.columns["codec"]: row for row in manifest.rows}  # one clip of each kind
    few = Manifest(manifest.path, tuple(by_codec.values()))
    images, left = load(few, Labelling.multilabel(["covid19"]), "ultrasound", {"size": (96, 96)}, parts="frames")
    assert left == ()
    found = Counter(images.rows.tolist())
    for number, row in enumerate(few.rows):
        step = int(float(row.columns["fps"]) / 3)
        assert found[number] == min(30, -(-int(row.columns["n_frames"]) // step))
