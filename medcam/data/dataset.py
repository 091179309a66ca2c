"""From a manifest to images: every file is decoded and prepared once, and none is lost in silence."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcam.data._keys import settings_key
from medcam.data._loading import Loading
from medcam.data._pack import VALUE, Entry, Pack
from medcam.data.images import Images, Store
from medcam.data.labelling import Labelling
from medcam.data.leak import check_headers
from medcam.data.manifest import Manifest, Row
from medcam.errors import InputError, UsageError
from medcam.progress import Tick
from medcam.record import Record

__all__ = ["Images", "LeftOut", "load"]

GIB = 1 << 30


@dataclass(frozen=True)
class LeftOut(Record):
    """A row of the manifest that gave no example."""

    line: int
    file: str
    """As the manifest writes it."""
    code: str
    """"other-label" where the labelling does not know what the row's label means, else why the file was refused."""
    detail: str


def load(
    manifest: Manifest,
    labelling: Labelling,
    transform: str,
    options: Mapping[str, Any] | None = None,
    *,
    parts: Literal["whole", "frames"] = "whole",
    frames_per_second: float = 3.0,
    most_frames: int = 30,
    cache: Path | None = None,
    memory_gib: float = 2.0,
    workers: int = 2,
    progress: Tick | None = None,
) -> tuple[Images, tuple[LeftOut, ...]]:
    """Decode and prepare the images of a manifest as screening does, once.

    Args:
        manifest: what to load.
        labelling: what the labels mean; rows that it leaves out are not decoded.
        transform, options: as a bundle's card states them.
        parts: "whole" makes one example of a file (of a slide: of each tile), "frames" one of each frame of a cine.
        frames_per_second, most_frames: which frames, see the transform `ultrasound`; only for parts "frames".
        cache: a folder that keeps prepared images, by the content of their files and by all that made them; the next
            run reads them there. It holds pixels of patients and may be deleted at any time. None keeps nothing.
        memory_gib: images that need more stay in a mapped file, in `cache` or in the system's temporary folder.
        workers: decoding subprocesses.
        progress: called with (files done, files in all).

    Returns:
        The images in the order of the manifest, kept as float16, and each row that gave none, with its reason.

    Raises:
        UsageError: "nothing-to-load", "mixed-size", "mixed-colour", "bad-option", there is no such transform, or
            "one-person", headers say that two patients are one.
        ResultsError: the cache is full or may not be written.
    """
    stated = dict(options or {})
    if parts == "frames":
        stated |= {"frames": most_frames, "frames_per_second": frames_per_second}
    settings = settings_key(transform, stated, parts)
    rows, left = _meant(manifest, labelling)
    passing = Path(mkdtemp(prefix="medcam-")) if cache is None else None
    try:
        pack = Pack((passing or Path(cache or "")) / settings)
        found = Loading(pack, transform, stated, parts == "frames", workers, progress).entries(rows)
        left += [_left_out(row, error) for row, error in zip(rows, found, strict=True) if isinstance(error, InputError)]
        used = [(row, entry) for row, entry in zip(rows, found, strict=True) if isinstance(entry, Entry)]
        if not used:
            raise _nothing(left)
        entries = [entry for _, entry in used]
        check_headers([row.patient_id for row, _ in used], [entry.source for entry in entries])
        fits = sum(entry.values for entry in entries) * VALUE.itemsize <= memory_gib * GIB
        store = Store(pack.read(entries)) if fits else Store(pack.mapped(), pack.file, passing)
    except BaseException:
        _discard(passing)
        raise
    if fits:
        _discard(passing)
    starts = np.cumsum([0, *(entry.values for entry in entries[:-1])]) if fits else [entry.start for entry in entries]
    left.sort(key=lambda one: one.line)
    return _images(store, np.asarray(starts, np.int64), used, manifest, labelling), tuple(left)


def _meant(manifest: Manifest, labelling: Labelling) -> tuple[list[Row], list[LeftOut]]:
    """Rows with a target, and those without."""
    rows, left = [], []
    for row in manifest.rows:
        if labelling.target(row.label) is None:
            left.append(LeftOut(row.line, row.columns["file"], "other-label", row.label))
        else:
            rows.append(row)
    return rows, left


def _left_out(row: Row, error: InputError) -> LeftOut:
    return LeftOut(row.line, row.columns["file"], error.code, str(error.args[0]))


def _nothing(left: Sequence[LeftOut]) -> UsageError:
    codes = ", ".join(f"{code} {count}" for code, count in Counter(one.code for one in left).most_common())
    labels = Counter(one.detail for one in left if one.code == "other-label").most_common(5)
    seen = f" Labels there are: {', '.join(label for label, _ in labels)}." if labels else ""
    return UsageError("nothing-to-load", f"No row of the manifest can be used ({codes}).{seen}")


def _discard(folder: Path | None) -> None:
    if folder is not None:
        rmtree(folder, ignore_errors=True)


def _images(
    store: Store,
    starts: npt.NDArray[np.int64],
    used: Sequence[tuple[Row, Entry]],
    manifest: Manifest,
    labelling: Labelling,
) -> Images:
    """One example of each part of each row."""
    places = {row.line: number for number, row in enumerate(manifest.rows)}
    shape = used[0][1].shape[1:]
    counts = np.array([entry.shape[0] for _, entry in used])
    owner = np.repeat(np.arange(len(used)), counts)  # (N,) which row an example is of
    parts = np.concatenate([np.arange(count) for count in counts])
    targets = np.array([labelling.target(row.label) for row, _ in used], np.float32)
    return Images(
        store,
        starts[owner] + parts * math.prod(shape),
        shape,
        labelling,
        targets[owner],
        [used[n][0].patient_id for n in owner.tolist()],
        [used[n][0].exam for n in owner.tolist()],
        np.array([places[used[n][0].line] for n in owner.tolist()]),
        parts,
        [used[n][1].source for n in owner.tolist()],
    )
