"""Secondary Capture (PS3.3 A.8): original | overlay as an RGB picture that every PACS can show.

One Secondary Capture Image per key image, and one Multi-frame True Color Secondary Capture with all frames of a cine.
"""

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medcam.display import Bytes, to_bytes
from medcam.errors import ResultsError
from medcam.findings import CAPTION, Case, KeyImage
from medcam.reports import _dicom, _rle
from medcam.reports._bitmap import render
from medcam.reports._picture_words import evidence_words, may_name_patient, plane_words, window_words
from medcam.reports._pictures import Style, figure, read_plane
from medcam.reports.base import Context, Report
from medcam.study import Pixels

DESCRIPTION = "AI heatmap - research use only, unverified"
NARROWEST = 300
"""Panels with fewer columns are enlarged by whole factors, so that the words fit."""

log = logging.getLogger(__name__)


class DicomSC(Report):
    """New series in the same study with identifiers, else pseudonymous objects in a derived study."""

    name = "dicom_sc"
    suffix = ".dcm"

    def write(self, case: Case, context: Context, folder: Path) -> list[Path]:
        stills = context.results.path(case.key)
        written = []
        for number, picture in enumerate(case.key_images, start=1):
            pixels = _picture(case, picture, read_plane(stills / picture.file))
            d = _capture(case, context, SecondaryCaptureImageStorage, picture, pixels.shape, number)
            _dicom.refer(d, context, [picture.index])
            content = pixels.tobytes()
            d.SOPInstanceUID = _content_uid(d, [hashlib.sha256(content).hexdigest()])
            d.PixelData = content + b"\0" if len(content) % 2 else content
            written.append(_dicom.save(d, folder / f"{case.key}_sc{number}{self.suffix}"))
        if case.kind == "cine":
            try:
                with _source_pixels(case, context) as source:
                    written.append(_cine(case, context, source, folder / f"{case.key}_sc_cine{self.suffix}"))
            except ResultsError as error:  # the key frames stand by themselves and say so
                log.warning("%s: key frames only, the whole cine was not captured: %s", case.key, error)
        return written


def _cine(case: Case, context: Context, source: Pixels, path: Path) -> Path:
    """All frames, encoded one after the other so that they are never in memory together."""
    window = case.key_images[0].window if case.key_images else source.window
    frames, digests = [], []
    for index in range(source.grid.shape[0]):
        picture = KeyImage(index, "", window, "")
        pixels = _picture(case, picture, to_bytes(source.plane(index), window))
        frames.append(_rle.encode(pixels))
        digests.append(hashlib.sha256(frames[-1]).hexdigest())
    number = len(case.key_images) + 1
    d = _capture(case, context, MultiFrameTrueColorSecondaryCaptureImageStorage, picture, pixels.shape, number)
    d.NumberOfFrames = len(frames)
    _timing(d, case)
    d.PreferredPlaybackSequencing = 0
    _dicom.refer(d, context, range(len(frames)))
    d.SOPInstanceUID = _content_uid(d, digests)
    d.PixelData = encapsulate(frames)
    return _dicom.save(d, path, RLELossless)


def _timing(d: Dataset, case: Case) -> None:
    """Frame Time where frames are evenly spaced, else Frame Time Vector (PS3.3 C.7.6.5), in milliseconds."""
    times = case.grid.frame_times_s
    if times is None or len(times) < 2:
        d.FrameTimeVector = [0.0] * d.NumberOfFrames
        d.FrameIncrementPointer = 0x00181065
        return
    steps = np.diff(times) * 1000
    if np.ptp(steps) <= 0.01 * steps.mean():
        d.FrameTime = f"{steps.mean():.6g}"
        d.FrameIncrementPointer = 0x00181063
        d.CineRate = d.RecommendedDisplayFrameRate = max(1, round(1000 / steps.mean()))
    else:
        d.FrameTimeVector = ["0", *(f"{step:.6g}" for step in steps)]
        d.FrameIncrementPointer = 0x00181065


def _picture(case: Case, picture: KeyImage, plane: Bytes) -> Bytes:
    """The two panels (H, W, 3) at source resolution, or a whole multiple of it, with the words burned in."""
    panel = plane.shape[1] * math.ceil(NARROWEST / plane.shape[1])
    style = Style(
        panel=panel,
        text=max(11.0, panel / 42),
        paper="#000000",
        ink="#e8edf2",
        faint="#a9b4bf",
        pixels=None,
    )
    made, prediction = case.provenance, case.prediction
    above = (
        f"AI - RESEARCH USE ONLY, NOT FOR DIAGNOSTIC USE - unverified - {case.decision.text}",
        f"{case.finding}: {prediction.score_name} {prediction.score:.3f}, threshold {prediction.threshold:.3f}",
        f"{made.model} {made.model_version} - {plane_words(case, picture)}",
    )
    return render(figure(case, picture, plane, style, above, (CAPTION,)))


def _capture(
    case: Case, context: Context, sop_class: str, picture: KeyImage, shape: tuple[int, ...], number: int
) -> Dataset:
    """Everything but references, timing, pixels and the UID that depends on them."""
    d = _dicom.common(case, context, sop_class, DESCRIPTION, 9001)
    d.ContentDate, d.ContentTime = d.InstanceCreationDate, d.InstanceCreationTime
    d.ConversionType = "WSD"
    d.ImageType = ["DERIVED", "SECONDARY"]
    d.InstanceNumber = number
    d.PatientOrientation = None  # two panels and their margins; the sides are written beside them
    d.ImageComments = _dicom.comments(case, context)
    d.DerivationDescription = (
        f"Left: original, {window_words(case, picture)}. Right: the same with {evidence_words(case)}. {CAPTION}"
    )
    d.BurnedInAnnotation = "YES" if may_name_patient(case) else "NO"  # what is added here names nobody
    if case.facts.get("LossyImageCompression", "").strip() == "01":
        d.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if case.facts.get(keyword):
                setattr(d, keyword, case.facts[keyword].split("\\"))
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PlanarConfiguration = 3, "RGB", 0
    d.Rows, d.Columns = shape[:2]
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 8, 8, 7, 0
    row_mm, column_mm = (picture.grid or case.grid).spacing[-2:]
    if abs(row_mm / column_mm - 1) > 0.01:
        d.PixelAspectRatio = [max(1, round(1000 * row_mm / column_mm)), 1000]
    return d


def _content_uid(d: Dataset, digests: list[str]) -> str:
    return _dicom.derived_uid(d.SeriesInstanceUID, str(d.InstanceNumber), d.ImageComments, *digests)


@contextlib.contextmanager
def _source_pixels(case: Case, context: Context) -> Iterator[Pixels]:
    """The cine's frames; what had to be decoded for them is deleted again."""
    pixels = context.results.pixels(case.key)
    try:
        yield pixels
    finally:
        decoded = Path(str(getattr(pixels.array, "filename", "")))
        if decoded.parent == (context.results.folder / "staging" / "decoded"):
            with contextlib.suppress(OSError):  # a mapped file cannot be deleted on Windows; the next screening does
                decoded.unlink()
