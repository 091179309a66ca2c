"""How fast an unknown folder is read: headers only, no cache of an earlier run, two parsing processes started anew.

The files have just been written, so they are in the system's cache: what is measured is the parsing, not the disk.
"""

from pathlib import Path

from medcam.readers import index
from tests.benchmarks import inputs
from tests.benchmarks.measure import Row, interleaved, seconds, spread


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """3,000 CT files in 15 series; `quick`: 300 in 3."""
    series, slices = (3, 100) if quick else (15, 200)
    images = inputs.ct_series(folder / "index-ct", series, slices, 256)
    return [files_per_second(images, folder / "headers.sqlite", series, slices, rounds)]


def files_per_second(images: Path, cache: Path, series: int, slices: int, rounds: int) -> Row:
    """Index `images` that many times, with a new header cache each time.

    Raises:
        RuntimeError: the index does not name every series as used.
    """

    def cold() -> None:
        for old in cache.parent.glob(f"{cache.name}*"):
            old.unlink()
        intake = index(images, cache=cache, workers=2)
        used = [len(record.files) for record in intake.series if record.status == "used"]
        if used != [slices] * series:
            raise RuntimeError(f"files of the series: {used}")

    cold()
    wall = seconds(interleaved({"cold": cold}, rounds)["cold"])
    files = series * slices
    rate = spread([files / each for each in wall], 0)
    details = f"{spread(wall, 1)} s"
    return Row(f"cold index of {files:,} CT files, files per second", rate, "at least 1,000", details)
