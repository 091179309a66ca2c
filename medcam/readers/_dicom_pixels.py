"""The pixels of a series from its files: budgets first, then decoding, then what the values mean."""

from pathlib import Path

from medcam.errors import InputError
from medcam.readers._dicom_checks import require_readable
from medcam.readers._dicom_colour import Colour
from medcam.readers._dicom_decode import decoded
from medcam.readers._dicom_file import guarded, quiet
from medcam.readers._dicom_grey import Grey
from medcam.readers._dicom_header import LOOK_UP_TABLES, WANTED, read_header
from medcam.study import Pixels, Series


def load(series: Series) -> Pixels:
    """The values of a series on its grid. One file is in memory at a time.

    Raises:
        InputError: a file has changed since it was indexed, or its pixels cannot be decoded.
        BudgetError: `too-large`, asked before a decoder runs.
    """
    with guarded(), quiet():
        canvas = Colour(series) if series.colour else Grey(series)
        wanted: dict[int, dict[int, int]] = {}
        for place, (file, frame) in enumerate(series.frames):
            wanted.setdefault(file, {})[frame] = place
        for file, places in wanted.items():
            source = series.files[file]
            facts, opened = read_header(Path(source.path), WANTED | LOOK_UP_TABLES)
            require_readable(facts)
            same = facts.get("SOPInstanceUID", "") == source.sop_instance_uid
            if opened.pixels is None or not same or (facts["Rows"], facts["Columns"]) != series.grid.shape[-2:]:
                raise InputError("unreadable", "The file has changed since it was indexed; run the command again.")
            canvas.open(facts, opened.dataset)
            for frame, stored in enumerate(decoded(Path(source.path), opened.pixels, facts)):
                if frame in places:
                    canvas.put(stored, frame, places[frame])
        return canvas.pixels()
