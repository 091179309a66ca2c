"""A patch as VL Microscopic Image and a slide as VL Whole Slide Microscopy Image (PS3.3 A.32.2 and A.32.8)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.uid import VLMicroscopicImageStorage, VLWholeSlideMicroscopyImageStorage

from sample_data.dicom import Patient, Series, Study, code, composite, save, uid
from sample_data.jpeg import save_jpeg
from sample_data.phantom import Phantom

TILE = 256
SECTION_MM = 0.004  # thickness of the cut
BREAST = ("76752008", "SCT", "Breast")


def write_patch(
    phantom: Phantom,
    folder: Path,
    patient: Patient,
    study: Study,
    *,
    series_number: int = 1,
    image_number: int = 1,
    encoding: str = "rgb",
) -> list[Path]:
    """Write a field of view (H, W, 3) into `folder`; the path.

    The IOD has no attribute for the pixel's size; PixelSpacing is added as a Standard Extended attribute (PS3.2 7.3).
    `encoding`: "rgb" (uncompressed) or "jpeg" (YBR_FULL_422, JPEG baseline); ValueError for another.
    """
    series = Series(uid(study.uid, series_number), "GM", series_number, "Breast, H&E, fields of view")
    instance = uid(series.uid, image_number)
    image = composite(VLMicroscopicImageStorage, instance, patient, study, series, image_number)
    _describe(image, series)
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.PatientOrientation = ""
    image.PixelSpacing = [f"{mm:.6f}" for mm in phantom.spacing]
    image.ICCProfile = camera_profile()
    image.Rows, image.Columns = phantom.mask.shape
    path = folder / f"{series_number:03d}-patch-{image_number:03d}.dcm"
    return [_store(image, np.asarray(phantom.pixels, np.uint8)[None], path, encoding)]


def write_slide(
    phantom: Phantom, folder: Path, patient: Patient, study: Study, *, series_number: int = 1, encoding: str = "jpeg"
) -> list[Path]:
    """Write a slide (H, W, 3), H and W multiples of 256, as one tiled image of full resolution; the path.

    TILED_FULL: tiles follow each other row by row, so no tile says where it lies (PS3.3 C.7.6.17.3). `encoding` as in
    `write_patch`.
    """
    height, width = phantom.mask.shape
    pixels = np.asarray(phantom.pixels, np.uint8)
    tiles = pixels.reshape(height // TILE, TILE, width // TILE, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    series = Series(uid(study.uid, series_number), "SM", series_number, "Breast, H&E, whole slide")
    image = composite(VLWholeSlideMicroscopyImageStorage, uid(series.uid, 1), patient, study, series, 1)
    _describe(image, series)
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = uid(series.uid, "slide"), "SLIDE_CORNER"
    image.AcquisitionDateTime, image.AcquisitionDuration = study.date + study.time, 60.0
    image.Rows = image.Columns = TILE
    image.NumberOfFrames = len(tiles)
    image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns = height, width
    image.TotalPixelMatrixFocalPlanes = image.NumberOfOpticalPaths = 1
    image.ImagedVolumeHeight, image.ImagedVolumeWidth = height * phantom.spacing[0], width * phantom.spacing[1]
    image.ImagedVolumeDepth = 1000 * SECTION_MM  # this one is in um (C.8.12.4)
    # the slide's label is at the top: rows run along -x, columns along -y
    image.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    image.TotalPixelMatrixOriginSequence = [_item(XOffsetInSlideCoordinateSystem=20, YOffsetInSlideCoordinateSystem=40)]
    image.VolumetricProperties, image.FocusMethod, image.ExtendedDepthOfField = "VOLUME", "AUTO", "NO"
    image.SpecimenLabelInImage = "NO"
    organization = uid(series.uid, "tiles")
    image.DimensionOrganizationType = "TILED_FULL"
    image.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    image.OpticalPathSequence = [
        _item(
            OpticalPathIdentifier="1",
            IlluminationTypeCodeSequence=[code("111744", "DCM", "Brightfield illumination")],
            IlluminationColorCodeSequence=[code("414298005", "SCT", "Full Spectrum")],
            ObjectiveLensPower=20,
            ICCProfile=camera_profile(),
        )
    ]
    spacing = [f"{mm:.6f}" for mm in phantom.spacing]
    image.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[_item(PixelSpacing=spacing, SliceThickness=SECTION_MM)],
            WholeSlideMicroscopyImageFrameTypeSequence=[_item(FrameType=image.ImageType)],
            OpticalPathIdentificationSequence=[_item(OpticalPathIdentifier="1")],
        )
    ]
    return [_store(image, tiles, folder / f"{series_number:03d}-slide.dcm", encoding)]


def _describe(image: Dataset, series: Series) -> None:
    """Specimen (C.7.6.22), Acquisition Context and what both IODs ask of an image."""
    image.BodyPartExamined, image.AnatomicRegionSequence = "BREAST", [code(*BREAST)]
    image.AcquisitionContextSequence = []
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"
    image.ContainerIdentifier = f"SLIDE-{series.number}"
    image.IssuerOfTheContainerIdentifierSequence = []
    image.ContainerTypeCodeSequence = [code("433466003", "SCT", "Microscope slide")]
    name = f"SPECIMEN-{series.number}"
    staining = [
        _item(ValueType="TEXT", ConceptNameCodeSequence=[code("121041", "DCM", "Specimen Identifier")], TextValue=name),
        _coded(code("111701", "DCM", "Processing type"), code("127790008", "SCT", "Staining")),
        _coded(code("424361007", "SCT", "Using substance"), code("12710003", "SCT", "Hematoxylin stain")),
        _coded(code("424361007", "SCT", "Using substance"), code("36879007", "SCT", "Water soluble eosin stain")),
    ]
    image.SpecimenDescriptionSequence = [
        _item(
            SpecimenIdentifier=name,
            SpecimenUID=uid(series.uid, "specimen"),
            IssuerOfTheSpecimenIdentifierSequence=[],
            SpecimenShortDescription="Breast, hematoxylin and eosin",
            SpecimenPreparationSequence=[_item(SpecimenPreparationStepContentItemSequence=staining)],
            PrimaryAnatomicStructureSequence=[code(*BREAST)],
        )
    ]


def _store(image: Dataset, frames: NDArray[np.uint8], path: Path, encoding: str) -> Path:
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    if encoding == "jpeg":
        return save_jpeg(image, frames, path)
    if encoding != "rgb":
        raise ValueError(f"encoding is rgb or jpeg, not {encoding}")
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.PixelData = frames.tobytes()
    return save(image, path)


def _item(**attributes: object) -> Dataset:
    """A sequence item with these attributes."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _coded(concept: Dataset, value: Dataset) -> Dataset:
    """A content item of value type CODE."""
    return _item(ValueType="CODE", ConceptNameCodeSequence=[concept], ConceptCodeSequence=[value])


def camera_profile() -> bytes:
    """An sRGB profile of class input device, as C.11.15 asks; without the time of its making, so that bytes repeat."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[12:16] = b"scnr"
    profile[24:36] = b"\x07\xe8\x00\x01\x00\x01" + bytes(6)  # 2024-01-01
    profile[84:100] = bytes(16)  # profile identity: not computed
    return bytes(profile)
