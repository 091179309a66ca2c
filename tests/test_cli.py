"""The command line: help that teaches, exit codes, one sentence for what goes wrong, and no word about the patient."""

import contextlib
import gc
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medcam import cli
from medcam.progress import Progress
from medcam.results import MARK, Results
from tests.small_dicom import CANARY, scene, write_ct, write_dx
from tests.stand_ins import save_fussy, save_stand_in
from tests.training.planted import write_pictures

COMMANDS = ("demo", "sample-data", "index", "screen", "explain", "train", "evaluate", "review", "report", "list")
X_RAYS = "chest_xray_opacity"


@pytest.fixture
def medcam(monkeypatch, capfd):
    """Runs a command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medcam", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capfd.readouterr()
        code = left.value.code or 0
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


@pytest.fixture
def refusal(medcam):
    """Runs a command that cannot be done: exit code 2, and one sentence on standard error, which is returned."""

    def run(*arguments: object) -> str:
        code, _, said = medcam(*arguments)
        assert code == 2
        lines = [line for line in said.splitlines() if not re.fullmatch(r"[\w ]+: \d+ of \d+", line)]  # progress
        assert len(lines) == 1, said
        assert re.fullmatch(r"medcam: .*[.?] \[[a-z01-]+\]", lines[0]), lines[0]
        return lines[0]

    return run


@pytest.fixture
def x_ray(tmp_path):
    """A folder with one X-ray."""
    write_dx(tmp_path / "in" / "dx", scene((200, 180), (slice(50, 80), slice(100, 140))))
    return tmp_path / "in"


def model(stand_ins, name=X_RAYS):
    return ("--pipeline", name, "--model", f"{name}={stand_ins[name]}", "--uncertainty", "none", "--workers", 1)


# help


def test_help_answers_at_once_and_loads_nothing_heavy():
    begun = time.process_time(), time.monotonic()
    code = (
        "import sys, resource; from medcam import cli; sys.argv = ['medcam', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = [m for m in ('torch', 'monai', 'numpy', 'pydicom', 'rich.progress') if m in sys.modules]\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('heavy', heavy, 'seconds', used.ru_utime + used.ru_stime, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, seconds = re.search(r"heavy (.*) seconds (.*)", run.stderr).groups()
    assert loaded == "[]"
    assert float(seconds) < 1.0  # of processor time: other work on the machine does not count
    assert all(f" {command} " in run.stdout for command in COMMANDS), begun


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_its_arguments_and_their_defaults(medcam, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, said, _ = medcam(command, "--help")
    assert code == 0
    assert said.count("\n") > 8
    for option in re.findall(r"(--[a-z-]+)", said):
        assert option in said
    rows = [line for line in said.splitlines() if re.match(r"│\s+\*?\s+(--|[a-z]+\s)", line)]
    assert rows
    for row in rows:
        words = re.sub(r"--?\S+|\[[^]]*\]|[A-Z]+\b|[│*]", "", row).split()
        assert len(words) >= 3, f"{command}: {row} explains nothing"


def test_defaults_and_units_are_told(medcam, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = medcam("screen", "--help")[1]
    for words in ("[default: auto]", "[default: 8]", "[default: 2]", "Images or tiles per forward pass", "processes"):
        assert words in said
    assert "[default: 8501]" in medcam("review", "--help")[1]
    assert "[default: html,pdf]" in medcam("report", "--help")[1]
    assert "[default: gradcam]" in medcam("explain", "--help")[1]


def test_without_a_command_it_shows_help(medcam):
    code, said, error = medcam()
    assert "screen" in said + error
    assert code == 2 or code == 0


# list


def test_list_names_every_member_with_what_it_is(medcam):
    for shelf, name, word in (
        ("pipelines", X_RAYS, "opacity"),
        ("methods", "gradcam", "Selvaraju"),
        ("models", "resnet", "ResNet"),
        ("reports", "html", "page"),
        ("readers", "dicom", "DICOM"),
        ("transforms", "ct", "CT"),
    ):
        code, said, _ = medcam("list", shelf)
        assert code == 0
        assert name in said
        assert word.lower() in said.lower(), said
        assert all(len(row.split("│")[2].strip()) > 10 for row in said.splitlines() if row.startswith("│"))


def test_list_of_something_else_suggests_near_names(refusal):
    assert "Did you mean pipelines?" in refusal("list", "pipeline")


# index


def test_index_as_json_holds_every_file_once(medcam, x_ray):
    write_ct(x_ray / "ct", scene((4, 8, 8), (slice(1), slice(1), slice(1))))
    (x_ray / "notes.txt").write_text("x")
    code, said, _ = medcam("index", x_ray, "--json", "--workers", 1)
    assert code == 0
    intake = json.loads(said)
    paths = [record["path"] for record in intake["files"]]
    assert paths == sorted(str(path) for path in x_ray.rglob("*") if path.is_file())
    assert [record["status"] for record in intake["files"]].count("skipped") == 1
    assert sum(len(series["files"]) for series in intake["series"]) == 5


def test_index_says_a_line_for_each_series_and_stray_file_and_no_word_about_the_patient(medcam, x_ray):
    (x_ray / "notes.txt").write_text("x")
    for arguments in ((), ("--json",)):
        code, said, error = medcam("index", x_ray, "--workers", 1, *arguments)
        assert code == 0
        assert CANARY not in said + error
    said = medcam("index", x_ray, "--workers", 1)[1]
    assert "used     DX image of 200 x 180 (1 file)" in said
    assert f"skipped  {x_ray / 'notes.txt'}  not-an-image" in said
    assert "files: 1 used, 1 skipped, 0 refused" in said
    assert CANARY in medcam("index", x_ray, "--workers", 1, "--json", "--include-identifiers")[1]


def test_names_that_are_no_text_are_told_all_the_same(medcam, tmp_path):
    (tmp_path / "in").mkdir()
    try:
        open(os.fsencode(tmp_path / "in") + b"/\xff\x1b[2J", "wb").close()  # noqa: PTH123  # bytes
    except OSError:
        pytest.skip("needs a file system that takes any bytes as a name")
    code, said, error = medcam("index", tmp_path / "in", "--workers", 1)
    assert code == 0
    assert "\x1b" not in said + error
    assert "skipped" in said or "refused" in said
    code, said, _ = medcam("index", tmp_path / "in", "--json", "--workers", 1)
    assert code == 0
    assert os.fsencode(json.loads(said)["files"][0]["path"]).endswith(b"/\xff\x1b[2J")


# screen: exit codes and what is said


def test_exit_codes_and_the_table(medcam, x_ray, stand_ins, tmp_path):
    code, said, _ = medcam("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    assert code == 0
    assert "flagged" in said
    assert "row 53, column 106" in said
    assert "files: 1 used, 0 skipped, 0 refused" in said
    assert "cases: 1 scored now, 0 known from before" in said
    assert "uncalibrated" in said
    assert "Research use only" in said
    write_dx(x_ray / "lateral", scene((20, 18), (slice(1), slice(1))), ViewPosition="LL")
    code, said, _ = medcam("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    assert code == 3
    assert "other-view" in said
    assert "LL, not PA/AP" in said
    assert "cases: 0 scored now, 1 known from before" in said


def test_a_dry_run_says_what_it_would_do(medcam, x_ray, stand_ins, tmp_path):
    write_dx(x_ray / "lateral", scene((20, 18), (slice(1), slice(1))), ViewPosition="LL")
    code, said, _ = medcam("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins), "--dry-run")
    assert code == 0
    assert "would score   chest_xray_opacity: DX image" in said
    assert "would refuse  DX image of 20 x 18: other-view: LL, not PA/AP" in said
    assert "would score 1 series and refuse 1" in said
    assert not (tmp_path / "r").exists()


def test_nothing_that_names_the_patient_leaves_the_identifiers(medcam, tmp_path, stand_ins):
    """Over everything that a run says and writes: names, ids, numbers, UIDs, paths, and what broken parts quote."""
    folder, out = tmp_path / f"{CANARY}^Doe", tmp_path / "results"
    write_dx(folder / f"{CANARY}.dcm", scene((200, 180), (slice(50, 80), slice(100, 140))))
    write_dx(folder / "quoted", scene((200, 180), (slice(0, 199), slice(0, 100))))  # the model raises, and quotes
    write_dx(folder / "lateral", scene((20, 18), (slice(1), slice(1))), ViewPosition="LL")
    write_ct(folder / "ct", scene((5, 8, 8), (slice(1), slice(1), slice(1))))
    broken = write_dx(folder / f"{CANARY}-broken", scene((200, 180), (slice(1), slice(1))))
    broken.write_bytes(broken.read_bytes()[:-4000])
    (folder / f"{CANARY}.txt").write_text(CANARY)
    (folder / f"{CANARY}-notdicom.dcm").write_bytes(b"\0" * 128 + b"DICM" + CANARY.encode() * 50)
    fussy = save_fussy(tmp_path / "fussy", X_RAYS)
    code, said, error = medcam(
        "screen", folder, "--out", out, "--model", f"{X_RAYS}={fussy}", "--trust-code", "--workers", 1,
        "--uncertainty", "none", *(word for name in stand_ins if name != X_RAYS for word in ("--model", f"{name}={stand_ins[name]}")),
    )  # fmt: skip
    assert code == 3
    assert "model-failed" in said
    assert CANARY not in said + error
    assert "Traceback" not in said + error
    import pydicom

    header = pydicom.dcmread(folder / f"{CANARY}.dcm")
    uids = [header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert any(path.name == "case.json" for path in files)
    for path in files:
        assert CANARY not in str(path.relative_to(tmp_path))
        if not path.name.startswith("identifiers"):
            content = path.read_bytes()
            for word in (CANARY, str(folder), "19010203", *uids):
                assert word.encode() not in content, f"{word} in {path}"
    assert all(path.stat().st_mode & 0o077 == 0 for path in files if path.name.startswith("identifiers"))
    # nothing but the two files of identifiers has to be removed
    assert {path.name for path in files if path.name.startswith("identifiers")} == {
        "identifiers.sqlite",
        "identifiers-headers.sqlite",
    }


def test_a_run_that_is_interrupted_says_how_it_goes_on(medcam, x_ray, tmp_path, stand_ins, monkeypatch):
    def interrupted(done, total):
        raise KeyboardInterrupt

    command = ("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    with monkeypatch.context() as patched:
        patched.setattr(Progress, "stage", lambda self, name: interrupted)
        code, _, said = medcam(*command)
    assert code == 130
    assert said == "medcam: stopped. What is finished is kept; run the same command again to go on.\n"
    assert medcam(*command)[0] == 0


# screen: what cannot be done


def test_a_folder_that_is_not_there(refusal, tmp_path, stand_ins):
    assert "does not exist" in refusal("screen", tmp_path / "no", "--out", tmp_path / "r", *model(stand_ins))
    assert not (tmp_path / "r").exists()


def test_a_folder_without_images(refusal, tmp_path, stand_ins):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "letter.txt").write_text("x")
    said = refusal("screen", tmp_path / "in", "--out", tmp_path / "r", *model(stand_ins))
    assert "holds no image that medcam can read (other files: 1)" in said


@contextlib.contextmanager
def without_privileges() -> Iterator[Path]:
    """A place of its own and an ordinary user, because root may read everything."""
    place = Path(tempfile.mkdtemp())
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    try:
        place.chmod(0o777)
        if root:
            os.seteuid(65534)
        yield place
    finally:
        if root:
            os.seteuid(0)
        for path in [place, *place.rglob("*")]:
            if path.is_dir():
                path.chmod(0o700)
        shutil.rmtree(place)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_folder_that_may_not_be_read(refusal, stand_ins, monkeypatch):
    copies = Path(tempfile.mkdtemp())  # bundles where the ordinary user can read them
    try:
        shutil.copytree(stand_ins[X_RAYS], copies / "bundle")
        copies.chmod(0o755)
        bundle = ("--pipeline", X_RAYS, "--model", f"{X_RAYS}={copies / 'bundle'}")
        with without_privileges() as place:
            (place / "locked" / "inside").mkdir(parents=True)
            (place / "locked").chmod(0)
            if os.access(place / "locked", os.R_OK, effective_ids=True):
                pytest.skip("needs a user whom permissions bind")
            said = refusal("screen", place / "locked", "--out", place / "r", *bundle)
            assert "cannot be read (Permission denied); check its permissions" in said
            said = refusal("screen", place / "locked" / "inside", "--out", place / "r", *bundle)
            assert "may not be entered" in said
            write_dx(place / "in" / "dx", scene((20, 18), (slice(1), slice(1))))
            said = refusal("screen", place / "in", "--out", place / "locked" / "r", *bundle)
            assert "cannot be written (Permission denied); choose another" in said
    finally:
        shutil.rmtree(copies)


def test_results_of_another_version_are_left_alone(refusal, x_ray, tmp_path, stand_ins):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / MARK).write_text('{"layout": 99}')
    for command in (
        ("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins)),
        ("report", tmp_path / "r", "--out", tmp_path / "x"),
    ):
        assert "has layout 99, this medcam writes 1" in refusal(*command)
    assert [path.name for path in (tmp_path / "r").iterdir()] == [MARK]


def test_a_foreign_folder_is_left_alone(refusal, x_ray, tmp_path, stand_ins):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("years of work")
    assert "holds other files" in refusal("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    assert [path.read_text() for path in (tmp_path / "r").iterdir()] == ["years of work"]


def test_a_file_in_the_way_of_the_results(refusal, x_ray, tmp_path, stand_ins):
    (tmp_path / "r").write_text("x")
    assert "cannot be written" in refusal("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))


def test_results_in_use(refusal, x_ray, tmp_path, stand_ins):
    with Results.writer(tmp_path / "r"):
        said = refusal("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    assert "Another medcam is writing" in said


def test_results_without_identifiers(refusal, medcam, x_ray, tmp_path, stand_ins):
    medcam("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    (tmp_path / "r" / "identifiers.sqlite").unlink()
    said = refusal("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    assert "identifiers of this results folder were removed; screen into a new folder" in said
    results = Results.open(tmp_path / "r")
    assert len(results.keys()) == 1
    results.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pipeline", "chest_xray"), "Did you mean chest_xray_opacity?"),
        (("--model", "chest_xray=somewhere"), "Did you mean chest_xray_opacity?"),
        (("--model", "chest_xray_opacity"), "PIPELINE=BUNDLE, not 'chest_xray_opacity'"),
        (("--model", "chest_xray_opacity=/nowhere"), "There is no bundle '/nowhere'"),
        (("--assume-anatomy", "lungs"), "Did you mean lung?"),
        (("--uncertainty", "dropuot"), "Did you mean dropout?"),
        (("--device", "gpu"), "There is no device 'gpu' here; choose"),
    ],
)
def test_mistyped_options(refusal, x_ray, tmp_path, stand_ins, arguments, said):
    models = [word for name, folder in stand_ins.items() for word in ("--model", f"{name}={folder}")]
    arguments = arguments if arguments[0] == "--pipeline" else (*models, *arguments)
    sentence = refusal("screen", x_ray, "--out", tmp_path / "r", "--workers", 1, *arguments)
    assert said in sentence


@pytest.mark.parametrize("arguments", [("--limit", "-1"), ("--batch-size", "0"), ("--workers", "0")])
def test_impossible_numbers(medcam, x_ray, tmp_path, stand_ins, arguments):
    code, _, said = medcam("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins), *arguments)
    assert code == 2
    assert arguments[0] in said
    assert not (tmp_path / "r").exists()


def test_a_model_of_another_question(refusal, x_ray, tmp_path, stand_ins):
    other = ("--pipeline", X_RAYS, "--model", f"{X_RAYS}={stand_ins['chest_ct_nodule']}")
    said = refusal("screen", x_ray, "--out", tmp_path / "r", *other)
    assert "knows nodule, not 'opacity'; it cannot answer chest_xray_opacity" in said


def test_damaged_bundles(refusal, x_ray, tmp_path):
    bundle = Path(save_stand_in(tmp_path / "b", X_RAYS))
    options = ("--pipeline", X_RAYS, "--model", f"{X_RAYS}={bundle}", "--workers", 1)
    weights = bundle / "models" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "bundle-hash" in refusal("screen", x_ray, "--out", tmp_path / "r", *options)
    (bundle / "configs" / "metadata.json").write_text("{")
    assert "cannot be read as JSON" in refusal("screen", x_ray, "--out", tmp_path / "r", *options)


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own; skips where none can be mounted."""
    place = Path(tempfile.mkdtemp())
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "medcam-test", str(place)]
    try:
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs to mount a tmpfs")
        try:
            yield place
        finally:
            gc.collect()  # memory maps of decoded pixels, in the frames of what was raised
            subprocess.run(["umount", str(place)], check=True)
    finally:
        place.rmdir()


def test_a_full_disk_loses_nothing_that_was_finished(refusal, medcam, tmp_path, stand_ins):
    for i in range(12):
        write_dx(tmp_path / "in" / f"{i:02d}", scene((400, 400), (slice(50, 80), slice(100, 140)), i))
    with small_disk(8) as disk:
        (disk / "ballast").write_bytes(b"\0" * 6_000_000)
        out = disk / "r"
        command = ("screen", tmp_path / "in", "--out", out, *model(stand_ins), "--batch-size", 1)
        assert "No space left" in refusal(*command)
        results = Results.open(out)
        finished = results.keys()
        assert 0 < len(finished) < 12
        before = {key: results.case(key).prediction.score for key in finished}
        results.close()
        (disk / "ballast").unlink()
        code, said, _ = medcam(*command)
        assert code == 0
        assert f"cases: {12 - len(finished)} scored now, {len(finished)} known from before" in said
        results = Results.open(out)
        assert len(results.keys()) == 12
        assert {key: results.case(key).prediction.score for key in finished} == before
        results.close()


def test_a_file_that_cannot_grow_loses_nothing_that_was_finished(refusal, medcam, tmp_path, stand_ins):
    """The same where nothing can be mounted: files may not grow beyond a limit, of this process and the decoder's."""
    resource = pytest.importorskip("resource", reason="needs resource limits")
    for i in range(4):
        write_dx(tmp_path / "in" / f"{i}", scene((100, 100), (slice(50, 80), slice(20, 60)), i))
    write_dx(tmp_path / "in" / "9", scene((900, 900), (slice(50, 80), slice(100, 140))))
    command = ("screen", tmp_path / "in", "--out", tmp_path / "r", *model(stand_ins), "--batch-size", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        assert "No space left" in refusal(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    results = Results.open(tmp_path / "r")
    finished = len(list(map(results.case, results.keys())))
    results.close()
    assert finished == 4
    code, said, _ = medcam(*command)
    assert code == 0
    assert "cases: 1 scored now, 4 known from before" in said


# explain


def test_explain_writes_a_map_at_the_right_millimetres_of_an_x_ray(medcam, x_ray, tmp_path, stand_ins):
    code, said, _ = medcam("explain", x_ray / "dx", "--model", stand_ins[X_RAYS], "--out", tmp_path / "map")
    assert code == 0
    written = [Path(line) for line in said.split()]
    assert sorted(path.suffix for path in written) == [".gz", ".json", ".png"]
    assert all(path.is_file() and path.parent == tmp_path / "map" for path in written)
    image = nibabel.load(next(path for path in written if path.suffix == ".gz"))
    assert image.header["sform_code"] != 1  # a detector is no place in the patient
    x, y = centre_mm(image)[:2]
    # columns 100 to 139 at 0.5 mm, rows 50 to 79 at 0.8 mm, and no better than a cell of 4 x (200 x 0.8 / 256) mm
    assert abs(x - 119.5 * 0.5) < 1.25
    assert abs(y - 64.5 * 0.8) < 1.25
    facts = json.loads(next(path for path in written if path.suffix == ".json").read_text())
    assert facts["method"] == "gradcam"
    assert facts["unit"] == "logit"
    assert facts["explained"] == pytest.approx(
        float(image.get_fdata().sum()) - 1, rel=0.05
    )  # evidence adds up to the logit
    assert CANARY not in json.dumps(facts)


def test_explain_places_a_ct_in_the_patient(medcam, tmp_path, stand_ins):
    block = (slice(16, 22), slice(20, 32), slice(40, 56))
    write_ct(tmp_path / "ct", scene((30, 60, 70), block) * 0.7 - 1500)
    out = tmp_path / "map"
    code, _, error = medcam("explain", tmp_path / "ct", "--model", stand_ins["chest_ct_nodule"], "--out", out)
    assert code == 0, error
    image = nibabel.load(next(out.glob("*.nii.gz")))
    assert image.header["sform_code"] == 1
    # centre in LPS from the files' own tags: origin (-60, -70, 100), spacing 1.5, 2, 4; NIfTI is RAS
    left, back, up = -60 + 47.5 * 1.5, -70 + 25.5 * 2.0, 100 + 18.5 * 4.0
    half = (5.0, 5.0, 9.0)  # of a cell
    assert (np.abs(centre_mm(image) - (-left, -back, up)) < half).all()


def centre_mm(image):
    """Centre of mass of what a map shows, by the file's own affine."""
    values = image.get_fdata()
    index = [
        float((np.moveaxis(values, axis, -1) @ np.arange(values.shape[axis])).sum() / values.sum()) for axis in range(3)
    ]
    return nibabel.affines.apply_affine(image.affine, index)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "gradcamm"), "Did you mean gradcam"),
        (("--layer", "head.mapp"), "Did you mean"),
        (("--target", "opacities"), "not 'opacities'. Did you mean opacity?"),
        (("--target", "7"), "7"),
    ],
)
def test_explain_refuses_by_name(refusal, x_ray, tmp_path, stand_ins, arguments, said):
    assert said in refusal("explain", x_ray / "dx", "--model", stand_ins[X_RAYS], "--out", tmp_path / "map", *arguments)
    assert not (tmp_path / "map").exists()


def test_explain_wants_one_image(refusal, x_ray, tmp_path, stand_ins):
    write_dx(x_ray / "other", scene((20, 18), (slice(1), slice(1))))
    said = refusal("explain", x_ray, "--model", stand_ins[X_RAYS], "--out", tmp_path / "map")
    assert "holds 2 images or series; name one image" in said
    said = refusal("explain", x_ray / "dx", "--model", "tests.stand_ins:Fussy", "--out", tmp_path / "map")
    assert "say --trust-code if it is yours" in said


def test_explain_takes_somebodys_own_network(medcam, x_ray, tmp_path):
    options = ("--transform", "xray", "--trust-code", "--target", "0", "--out", tmp_path / "map")
    code, said, error = medcam("explain", x_ray / "dx", "--model", "tests.stand_ins:Fussy", *options)
    assert code == 0, error
    assert said.count("\n") == 3


@pytest.mark.parametrize("command", ["demo", "sample-data", "explain", "evaluate", "report"])
def test_a_place_that_cannot_be_written(refusal, medcam, x_ray, tmp_path, stand_ins, command):
    (tmp_path / "file").write_text("x")
    place = tmp_path / "file" / "inside"
    if command == "report":
        medcam("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    arguments = {
        "demo": (place,),
        "sample-data": (place,),
        "explain": (x_ray / "dx", "--model", stand_ins[X_RAYS], "--out", place),
        "evaluate": (stand_ins[X_RAYS], "--data", tmp_path / "m.csv", "--out", place),
        "report": (tmp_path / "r", "--format", "json_record", "--out", place),
    }
    assert re.search(r"cannot be written \(.*\); choose another", refusal(command, *arguments[command]))


# train


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Sixty patients, half of them with a spot."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


SPOTS = ("--positive", "spot,two spots", "--negative", "clear")


def test_a_training_does_what_it_was_asked_for_and_shows_it(medcam, manifest, tmp_path):
    command = (
        "train",
        X_RAYS,
        "--data",
        manifest,
        "--out",
        tmp_path / "bundle",
        *SPOTS,
        "--model",
        "mobilenet_v3_small",
    )
    how = {
        "--size": "64x32", "--epochs": 2, "--patience": 0, "--batch-size": 8, "--learning-rate": 0.002,
        "--loss": "focal", "--gamma": 2, "--sampler": "balanced", "--label-smoothing": 0.1, "--dropout": 0.2,
        "--sensitivity": 0.8, "--seed": 5, "--precision": "32", "--workers": 1, "--where": "licence=CC0",
    }  # fmt: skip
    code, said, error = medcam(*command, *(word for pair in how.items() for word in pair), "--curriculum", "--half")
    assert code == 0, error
    assert "On test patients, who served for nothing else" in said
    assert "left out because their label is in no group: 1 rows" in said
    assert "Research use only" in said
    account = json.loads((tmp_path / "bundle" / "docs" / "training.json").read_text())
    wanted = {
        "epochs": 2, "patience": None, "batch": 8, "rate": 0.002, "gamma": 2.0, "alpha": "none", "balance": "patient",
        "smoothing": 0.1, "seed": 5, "precision": "32", "devices": 1,
    }  # fmt: skip
    assert {name: account["settings"][name] for name in wanted} == wanted
    assert account["settings"]["curriculum"]["shares"][-1] == 1
    assert account["network"]["transform_options"] == {"size": [64, 32]}
    assert account["network"]["definition"]["dropout"] == 0.2
    assert account["network"]["half"]
    assert account["data"]["where"] == {"licence": "CC0"}
    assert account["calibration"]["thresholds"][0]["origin"].startswith("sensitivity 80%")
    assert len(account["history"]) == 2


def test_a_dry_run_says_who_would_be_on_which_side_and_writes_nothing(medcam, manifest, tmp_path):
    command = ("train", X_RAYS, "--data", manifest, "--out", tmp_path / "bundle", *SPOTS)
    code, said, _ = medcam(*command, "--dry-run")
    assert code == 0
    assert re.search(r"training +│ \d+ +│ 36 +│ 18 +│ 18 ", said)
    assert "Nothing was trained" in said
    assert list(tmp_path.iterdir()) == []
    code, said, _ = medcam(*command, "--dry-run", "--folds", 3)
    assert code == 0
    assert "fold 3 of 3" in said
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_is_interrupted_says_how_it_goes_on(medcam, manifest, tmp_path, monkeypatch):
    def interrupted(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "stage", lambda self, name: interrupted)
    code, _, said = medcam("train", X_RAYS, "--data", manifest, "--out", tmp_path / "bundle", *SPOTS, "--size", 32)
    assert code == 130
    assert said == "medcam: stopped. What is finished is kept; run the same command again to go on.\n"
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--positive", "sopt", "--negative", "clear"), "Did you mean spot?"),
        ((), "say --positive and --negative, or --classes"),
        ((*SPOTS, "--model", "resnet81"), "Did you mean resnet18"),
        ((*SPOTS, "--loss", "fokal"), "Did you mean focal?"),
        ((*SPOTS, "--loss", "cross-entropy", "--gamma", 2), "--gamma belongs to --loss focal"),
        ((*SPOTS, "--alpha", "count"), "Did you mean counts?"),
        ((*SPOTS, "--alpha", "counts", "--sampler", "balanced"), "[double-correction]"),
        ((*SPOTS, "--sampler", "fair"), "Known: plain, balanced."),
        ((*SPOTS, "--precision", "16"), "Known: auto, 32, bf16-mixed, 16-mixed."),
        ((*SPOTS, "--size", "big"), "--size takes numbers like 160 or 160x192, not 'big'"),
        ((*SPOTS, "--where", "sex"), "--where takes COLUMN=VALUE, not 'sex'"),
        ((*SPOTS, "--learning-rate", 0), "must be above 0"),
        ((*SPOTS, "--sensitivity", 2), "[bad-sensitivity]"),
        ((*SPOTS, "--devices", 3), "multiple of devices"),
    ],
)
def test_train_refuses_in_a_sentence(refusal, manifest, tmp_path, arguments, said):
    assert said in refusal("train", X_RAYS, "--data", manifest, "--out", tmp_path / "bundle", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_train_names_the_lines_of_a_bad_manifest(refusal, tmp_path):
    (tmp_path / "m.csv").write_text("file,label,patient_id\nnowhere.png,1,a\n")
    said = refusal("train", X_RAYS, "--data", tmp_path / "m.csv", "--out", tmp_path / "bundle")
    assert "line 2: there is no file nowhere.png" in said
    said = refusal("train", "chest_xray", "--data", tmp_path / "m.csv", "--out", tmp_path / "bundle")
    assert "Did you mean chest_xray_opacity?" in said


# evaluate


@pytest.fixture
def labelled(tmp_path):
    """A manifest of eight X-rays, every other one with a bright block and a label that says so."""
    rows = ["file,label,patient_id"]
    for i in range(8):
        block = (slice(50, 90), slice(60, 110)) if i % 2 else (slice(0), slice(0))
        write_dx(tmp_path / "labelled" / f"{i}.dcm", scene((200, 180), block, i))
        rows.append(f"{i}.dcm,{'mass' if i % 2 else 'none'},{CANARY}{i}")
    path = tmp_path / "labelled" / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_evaluate_measures_a_model_and_names_nobody(medcam, labelled, tmp_path, stand_ins):
    options = ("--data", labelled, "--out", tmp_path / "e", "--positive", "mass", "--negative", "none", "--worst", 0)
    code, said, error = medcam("evaluate", stand_ins[X_RAYS], *options, "--draws", 200, "--workers", 1)
    assert code == 0, error
    figures = json.loads((tmp_path / "e" / "evaluation.json").read_text())["labels"][0]["performance"]
    assert (figures["positives"], figures["cases"], figures["auroc"]["value"]) == (4, 8, 1)
    assert "1.00 (no interval)" in said
    assert "note: Research use only" in said
    assert CANARY not in said + (tmp_path / "e" / "report.html").read_text()
    (labelled.parent / "0.dcm").write_bytes(b"broken")
    code, said, _ = medcam("evaluate", stand_ins[X_RAYS], *options, "--draws", 200, "--workers", 1)
    assert code == 3  # done, but a row could not be read
    assert "1 row was left out and counts nowhere" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Labels are mass, none, not 0 or 1; say --positive and --negative"),
        (("--positive", "mas", "--negative", "none"), "No row has the label 'mas'. Did you mean mass?"),
        (("--classes", "a=mass; b=none"), "The bundle knows opacity (single-logit), not a, b (softmax)"),
        (("--where", "view"), "--where takes COLUMN=VALUE"),
        (("--where", "veiw=PA"), "The manifest has no column 'veiw'"),
        (("--by", "exams"), "Did you mean exam?"),
        (("--aggregate", "majority", "--positive", "mass", "--negative", "none"), "no aggregation 'majority'"),
        (("--uncertainty", "dropuot", "--positive", "mass", "--negative", "none"), "Did you mean dropout?"),
        (("--split", "test", "--positive", "mass", "--negative", "none"), "leave --split out"),
    ],
)
def test_evaluate_refuses_by_name(refusal, labelled, tmp_path, stand_ins, arguments, said):
    command = ("evaluate", stand_ins[X_RAYS], "--data", labelled, "--out", tmp_path / "e", "--workers", 1)
    assert said in refusal(*command, *arguments)
    assert not list((tmp_path / "e").glob("*"))


# the databases that a run leaves


def test_the_index_can_be_read_by_others(medcam, x_ray, tmp_path, stand_ins):
    medcam("screen", x_ray, "--out", tmp_path / "r", *model(stand_ins))
    index = sqlite3.connect(tmp_path / "r" / "index.sqlite")
    ((key, pipeline, phantom),) = index.execute("SELECT key, pipeline, phantom FROM cases")
    index.close()
    assert pipeline == X_RAYS
    assert phantom == 1
    assert (tmp_path / "r" / "cases" / key / "case.json").is_file()
