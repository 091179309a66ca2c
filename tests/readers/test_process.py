"""The decoding subprocess: real crashes, real timeouts, real memory limits, and no process left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medcam.errors import BudgetError, InputError, ResultsError, UsageError
from medcam.readers import Decoder, Header
from medcam.readers.nifti import Nifti
from medcam.study import FileRecord, Series

HOSTILE = '''
import ctypes, os, sys, time
from medcam.errors import InputError
from medcam.readers.base import Header, Reader
from medcam.study import Pixels

class Hostile(Reader):
    """A third party's reader of files that say what they do to it."""
    name = "hostile"
    def recognises(self, path, head):
        return head.startswith(b"HOSTILE")
    def header(self, path):
        deed = path.read_text().split()[1]
        if deed == "abort":
            os.abort()
        if deed == "segfault":
            ctypes.string_at(0)
        if deed == "hang":
            time.sleep(600)
        if deed == "memory":
            bytearray(20 << 30)
        if deed == "recursion":
            def down(): return down()
            down()
        if deed == "noise":
            os.write(1, b"noise of a C library"); os.write(2, b"more of it"); print("and Python's", flush=True)
        if deed == "quote":
            raise ValueError("PatientName is Doe^Jane")
        return Header(str(path), 0, 0, "hostile", {"deed": deed})
    def series(self, headers):
        return []
    def pixels(self, series):
        raise InputError("decode-failed", "never")
'''


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of hostile files, and their reader installed as another distribution would install it."""
    site = tmp_path / "site"
    (site / "hostile-1.0.dist-info").mkdir(parents=True)
    (site / "hostile_reader.py").write_text(HOSTILE)
    (site / "hostile-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    points = "[medcam.readers]\nhostile = hostile_reader:Hostile\n"
    (site / "hostile-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(site)
    folder = tmp_path / "files"
    folder.mkdir()
    for deed in ("abort", "fine", "hang", "memory", "noise", "quote", "recursion", "segfault", "well"):
        (folder / f"{deed}.x").write_text(f"HOSTILE {deed}")
    return folder


def nifti(path: Path, shape: tuple[int, ...] = (4, 5, 6)) -> Series:
    size = int(np.prod(shape))
    values = (np.arange(size) if size < 1000 else np.zeros(size)).astype(np.int16).reshape(shape)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 1.0, 1.0])), path)
    (record,) = Nifti().series([Nifti().header(path)])
    assert record.series is not None
    return record.series


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_each_hostile_file_costs_only_itself(hostile: Path) -> None:
    paths = sorted(hostile.iterdir())
    with Decoder(header_seconds=3) as decoder:
        outcomes = dict(zip((path.stem for path in paths), decoder.headers(paths), strict=True))
        again = decoder.headers([hostile / "fine.x"])
    codes = {
        name: "" if isinstance(outcome, Header) else outcome.reason and outcome.reason.code
        for name, outcome in outcomes.items()
    }
    assert codes == {
        "abort": "decoder-crashed",
        "fine": "",
        "hang": "timeout",
        "memory": "too-large",
        "noise": "",
        "quote": "malformed",
        "recursion": "too-deep",
        "segfault": "decoder-crashed",
        "well": "",
    }
    assert isinstance(again[0], Header)
    assert again[0].facts["deed"] == "fine"


def test_what_a_parser_says_about_the_patient_stays_inside(hostile: Path) -> None:
    with Decoder() as decoder:
        (outcome,) = decoder.headers([hostile / "quote.x"])
    assert isinstance(outcome, FileRecord)
    assert "Doe" not in str(outcome)
    assert "ValueError" in str(outcome.reason)


def test_a_pipe_that_never_speaks_is_a_timeout(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "silent")
    with Decoder(header_seconds=0.5) as decoder:
        (outcome,) = decoder.headers([tmp_path / "silent"])
    assert isinstance(outcome, FileRecord)
    assert outcome.reason is not None
    assert outcome.reason.code == "timeout"


def test_pixels_come_as_a_read_only_map_of_a_file_in_the_folder(tmp_path: Path) -> None:
    series = nifti(tmp_path / "a.nii.gz")
    staging = tmp_path / "staging"
    staging.mkdir()
    with Decoder() as decoder:
        pixels = decoder.pixels(series, staging)
        first = decoder.pid
        future = decoder.submit(series, staging)
        assert np.array_equal(future.result().array, pixels.array)
        assert decoder.pid == first
    assert isinstance(pixels.array, np.memmap)
    assert not pixels.array.flags.writeable
    assert Path(str(pixels.array.filename)).parent == staging
    assert pixels.grid == series.grid
    assert sorted(pixels.array.ravel()) == list(range(120))


def test_pixels_beyond_the_budget_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    series = nifti(tmp_path / "a.nii.gz", (64, 64, 64))  # 0.5 MiB
    with Decoder(gib=0.25 / 1024) as decoder, pytest.raises(BudgetError) as refusal:
        decoder.pixels(series, tmp_path)
    assert refusal.value.code == "too-large"
    assert not list(tmp_path.glob("*.npy"))


@pytest.mark.parametrize("nonsense", ["soon", "-1", "0", "nan", "inf"])
def test_limits_that_are_no_numbers_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    monkeypatch.setenv("MEDCAM_DECODE_SECONDS", nonsense)
    with pytest.raises(UsageError, match="MEDCAM_DECODE_SECONDS"):
        Decoder()
    monkeypatch.setenv("MEDCAM_DECODE_SECONDS", "7.5")
    assert Decoder().seconds == 7.5


def test_slow_pixels_are_a_timeout_and_the_next_series_is_read(tmp_path: Path) -> None:
    slow, quick = nifti(tmp_path / "slow.nii.gz", (256, 256, 400)), nifti(tmp_path / "quick.nii.gz")
    with Decoder(seconds=0.02) as decoder:
        decoder.headers([tmp_path / "slow.nii.gz"])  # imports nibabel
        with pytest.raises(InputError) as refusal:
            decoder.pixels(slow, tmp_path)
        decoder.seconds = 60
        assert decoder.pixels(quick, tmp_path).array.shape == (6, 5, 4)
    assert refusal.value.code == "timeout"
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_a_worker_killed_at_work_is_a_crash_and_one_killed_at_rest_is_nobodys_fault(tmp_path: Path) -> None:
    slow = nifti(tmp_path / "slow.nii.gz", (256, 256, 400))
    with Decoder() as decoder:
        decoder.headers([tmp_path / "slow.nii.gz"])
        future = decoder.submit(slow, tmp_path)
        time.sleep(0.03)
        assert decoder.pid is not None
        os.kill(decoder.pid, signal.SIGKILL)
        with pytest.raises(InputError) as refusal:
            future.result()
        assert refusal.value.code == "decoder-crashed"
        (header,) = decoder.headers([tmp_path / "slow.nii.gz"])
        assert isinstance(header, Header)
        os.kill(decoder.pid, signal.SIGKILL)
        os.waitid(os.P_PID, decoder.pid, os.WEXITED | os.WNOWAIT)
        (header,) = decoder.headers([tmp_path / "slow.nii.gz"])
        assert isinstance(header, Header)


def test_a_folder_that_cannot_hold_the_pixels_is_not_the_files_fault(tmp_path: Path) -> None:
    series = nifti(tmp_path / "a.nii.gz")
    with Decoder() as decoder, pytest.raises(ResultsError) as refusal:
        decoder.pixels(series, tmp_path / "missing")
    assert refusal.value.code == "storage-failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = nifti(tmp_path / "a.nii.gz")
    (tmp_path / ("0" * 32 + ".npy")).symlink_to("/dev/full")
    monkeypatch.setattr("uuid.uuid4", lambda: type("Fixed", (), {"hex": "0" * 32}))
    with Decoder() as decoder, pytest.raises(ResultsError, match=r"[Nn]o space") as refusal:
        decoder.pixels(series, tmp_path)
    assert refusal.value.code == "storage-failed"


def test_closing_cancels_what_waits_and_ends_the_process(hostile: Path) -> None:
    decoder = Decoder(header_seconds=60)
    hanging = decoder.submit_headers([hostile / "hang.x"])
    waiting = decoder.submit_headers([hostile / "fine.x"])
    while decoder.pid is None:
        time.sleep(0.01)
    pid, start = decoder.pid, time.monotonic()
    decoder.close()
    assert time.monotonic() - start < 5
    assert gone(pid, 1)
    assert hanging.cancelled() or hanging.exception() is not None
    assert waiting.cancelled()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to see other processes")
def test_no_worker_outlives_a_parent_that_was_killed_even_while_it_decodes(hostile: Path) -> None:
    script = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(hostile.parent / "site")!r})
        from medcam.readers import Decoder
        decoder = Decoder()
        decoder.headers([Path({str(hostile / "fine.x")!r})])
        print(decoder.pid, flush=True)
        decoder.headers([Path({str(hostile / "hang.x")!r})])
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]  # `python -c` has no main module to import again
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert alive(pid)
        parent.kill()
    assert gone(pid, 5)


def test_a_script_without_a_main_guard_can_decode(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii.gz")
    script = tmp_path / "script.py"
    script.write_text(f"from medcam.readers import index\nprint(len(index({str(tmp_path / 'a.nii.gz')!r}).used))\n")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.stdout == "1\n", done.stderr


def test_neither_parent_nor_worker_imports_torch_monai_or_a_decoder_before_it_is_needed() -> None:
    script = (
        "import sys, medcam.readers, medcam.readers._worker;"
        "heavy = {'torch', 'monai', 'pydicom', 'SimpleITK', 'av', 'PIL', 'nibabel', 'openslide'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
