"""Values as they are meant, against numbers computed by hand and against independent decoders."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from medcam.errors import BudgetError, InputError
from medcam.readers import _dicom_decode
from medcam.readers.dicom import Dicom
from tests.readers.dicom_zoo import ct_series, enhanced_ct, image, item, load, radiograph, records, save, ultrasound


def test_each_slice_is_rescaled_by_its_own_numbers(tmp_path: Path) -> None:
    def rescale(dataset: Dataset, number: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = number + 1, -10 * number

    pixels = load(*ct_series(tmp_path, [(0, 0, z) for z in (0, 1, 2)], edit=rescale))
    # stored 0, 10, 20 -> 1 * 0 - 0, 2 * 10 - 10, 3 * 20 - 20
    assert pixels.array[:, 0, 0].tolist() == [0, 10, 40]
    assert (pixels.array.dtype, pixels.unit, pixels.colour) == (np.int16, "HU", False)


def test_fractions_and_large_numbers_are_kept_as_floats(tmp_path: Path) -> None:
    def rescale(dataset: Dataset, number: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = (1, 0) if number == 0 else (0.3, 0.5)

    pixels = load(*ct_series(tmp_path / "a", [(0, 0, z) for z in (0, 1, 2)], edit=rescale))
    assert pixels.array.dtype == np.float32
    np.testing.assert_allclose(pixels.array[:, 0, 0], [0, 3.5, 6.5], rtol=1e-6)

    def brighten(dataset: Dataset, number: int) -> None:
        dataset.PixelData = np.full((4, 6), [0, 40000, 65535][number], np.uint16).tobytes()

    pixels = load(*ct_series(tmp_path / "b", [(0, 0, z) for z in (0, 1, 2)], edit=brighten))
    assert pixels.array[:, 0, 0].tolist() == [-1024, 40000 - 1024, 65535 - 1024]


def test_unsigned_values_beyond_int16_come_back_exactly_through_the_intercept(tmp_path: Path) -> None:
    def offset(dataset: Dataset, number: int) -> None:
        dataset.PixelData = np.full((4, 6), 40000 + number, np.uint16).tobytes()
        dataset.RescaleIntercept = -40000

    pixels = load(*ct_series(tmp_path, [(0, 0, 0), (0, 0, 1)], edit=offset))
    assert (pixels.array.dtype, pixels.array[:, 0, 0].tolist()) == (np.int16, [0, 1])


def test_hounsfield_units_are_not_inverted_by_monochrome1(tmp_path: Path) -> None:
    def show_inverted(dataset: Dataset, _number: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    pixels = load(*ct_series(tmp_path, [(0, 0, 0), (0, 0, 1)], edit=show_inverted))
    assert pixels.array[:, 0, 0].tolist() == [-1024, -1014]
    assert "Hounsfield units are kept" in pixels.steps[0]


def test_padding_of_ct_takes_the_lowest_value_whatever_its_sign(tmp_path: Path) -> None:
    values = np.array([[-2000, 0, 50], [-2000, 1000, 1100]], np.int16)
    ct = image(CTImageStorage, values, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, PixelPaddingValue=63536)
    ct["PixelPaddingValue"].VR = "US"  # -2000 as an unsigned number, as some scanners write it
    ct.ImagePositionPatient, ct.ImageOrientationPatient, ct.PixelSpacing = [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1]
    pixels = load(save(ct, tmp_path / "x"))
    assert pixels.array.tolist() == [[[-1024, -1024, -974], [-1024, -24, 76]]]
    assert "padding set to the lowest value" in pixels.steps


def test_monochrome1_is_inverted_once_after_rescale_and_padding_stays_dark(tmp_path: Path) -> None:
    # 0 is padding; real values 100 ... 400 with slope 2 are 200 ... 800: inverted about 1000, padding as dark as 200
    values = np.array([[0, 100], [250, 400]], np.uint16)
    dx = radiograph(values, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=0)
    dx.PixelPaddingValue, dx.WindowCenter, dx.WindowWidth, dx.PresentationLUTShape = 0, 400, 100, "INVERSE"
    pixels = load(save(dx, tmp_path / "x"))
    assert pixels.array.tolist() == [[200, 800], [500, 200]]
    assert pixels.window == (600, 100)
    assert pixels.steps == ("rescaled plane by plane", "padding set to the brightest value", "MONOCHROME1 inverted")


def test_inversion_of_the_whole_int16_range_does_not_overflow(tmp_path: Path) -> None:
    values = np.array([[-32768, 0], [1, 32767]], np.int16)
    pixels = load(save(radiograph(values, PhotometricInterpretation="MONOCHROME1"), tmp_path / "x"))
    assert pixels.array.tolist() == [[32767, -1], [-2, -32768]]


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
def test_contradicting_polarity_is_refused(photometric: str, shape: str, tmp_path: Path) -> None:
    dx = radiograph(np.zeros((2, 2), np.uint8), PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    assert records([save(dx, tmp_path / "x")])[0].reason.code == "photometric"


def test_padding_range_is_masked_up_to_its_limit(tmp_path: Path) -> None:
    values = np.array([[0, 5, 9, 10, 200]], np.uint16)
    dx = radiograph(values, PixelPaddingValue=0, PixelPaddingRangeLimit=9)
    assert load(save(dx, tmp_path / "x")).array.tolist() == [[10, 10, 10, 10, 200]]


def test_modality_look_up_table(tmp_path: Path) -> None:
    table = item(LUTDescriptor=[4, 10, 16], LUTData=np.array([100, 300, 200, 7], np.uint16).tobytes())
    dx = radiograph(np.array([[9, 10, 11, 12, 13, 14]], np.uint16), ModalityLUTSequence=table)
    pixels = load(save(dx, tmp_path / "x"))
    assert pixels.array.tolist() == [[100, 100, 300, 200, 7, 7]]  # below and beyond the table: its ends
    assert pixels.steps == ("Modality LUT",)


def test_windows_are_for_display_and_the_first_counts(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3)
    dx = radiograph(values, WindowCenter=[3, 40], WindowWidth=[2, 80])
    pixels = load(save(dx, tmp_path / "a"))
    assert (pixels.window, pixels.array.tolist()) == ((3, 2), values.tolist())
    table = item(LUTDescriptor=[64, 100, 16], LUTData=bytes(128))
    assert load(save(radiograph(values, VOILUTSequence=table), tmp_path / "b")).window == (132, 64)
    assert load(save(radiograph(values), tmp_path / "c")).window is None


def palette(entries: list[list[int]], bits: int) -> dict[str, object]:
    elements: dict[str, object] = {}
    for colour, values in zip(("Red", "Green", "Blue"), entries, strict=True):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [len(values), 0, bits]
        kind = np.uint16 if bits == 16 else np.uint8
        elements[f"{colour}PaletteColorLookupTableData"] = np.array(values, kind).tobytes()
    return elements


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_with_indices_beyond_its_end(bits: int, tmp_path: Path) -> None:
    scale = 257 if bits == 16 else 1
    entries = [[scale * v for v in row] for row in ([0, 10, 20, 30], [1, 11, 21, 31], [2, 12, 22, 255])]
    still = ultrasound(np.array([[0, 1, 2], [3, 4, 255]], np.uint8), **palette(entries, bits))
    still.PhotometricInterpretation = "PALETTE COLOR"
    pixels = load(save(still, tmp_path / "x"))
    last = [30, 31, 255]
    assert pixels.array.tolist() == [[[0, 1, 2], [10, 11, 12], [20, 21, 22]], [last, last, last]]
    assert (pixels.unit, pixels.colour, pixels.steps) == ("RGB", True, ("PALETTE COLOR to RGB",))


def test_palette_whose_data_are_too_short_is_an_error_not_a_crash(tmp_path: Path) -> None:
    still = ultrasound(np.full((2, 2), 200, np.uint8), **palette([[1] * 8] * 3, 8))
    still.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        still[f"{colour}PaletteColorLookupTableDescriptor"].value = [256, 0, 8]
    with pytest.raises(InputError):
        load(save(still, tmp_path / "x"))


def full_ybr(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """PS3.3 C.7.6.3.1.2, by its formula."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return (rgb @ matrix.T + (0, 128, 128)).round().clip(0, 255).astype(np.uint8)


COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_models_and_planar_configurations(photometric: str, planar: int, tmp_path: Path) -> None:
    frames = np.stack([COLOURS, COLOURS[::-1]])
    stored = full_ybr(frames) if photometric == "YBR_FULL" else frames
    cine = ultrasound(stored, SamplesPerPixel=3, PhotometricInterpretation=photometric, PlanarConfiguration=planar)
    if planar:
        cine.PixelData = np.moveaxis(stored, -1, 1).tobytes()
    pixels = load(save(cine, tmp_path / "x"))
    assert pixels.array.shape == (2, 2, 2, 3)
    assert np.abs(pixels.array.astype(int) - frames).max() <= 2  # 8-bit YBR holds RGB to this much
    assert pixels.grid.is_cine


def test_subsampled_ybr(tmp_path: Path) -> None:
    # two pixels share Cb and Cr: Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2)
    ybr = full_ybr(np.array([[[200, 30, 60]]], np.uint8))[0, 0]
    data = np.array([ybr[0], ybr[0], ybr[1], ybr[2]] * 2, np.uint8)
    still = ultrasound(np.zeros((2, 2, 3), np.uint8), SamplesPerPixel=3, PlanarConfiguration=0)
    still.PhotometricInterpretation, still.PixelData = "YBR_FULL_422", data.tobytes()
    assert np.abs(load(save(still, tmp_path / "x")).array.astype(int) - (200, 30, 60)).max() <= 2


def test_sixteen_bit_colours_become_eight(tmp_path: Path) -> None:
    still = ultrasound(COLOURS.astype(np.uint16) * 16, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    still.PlanarConfiguration, still.BitsStored, still.HighBit = 0, 12, 11
    assert load(save(still, tmp_path / "x")).array.tolist() == COLOURS.tolist()


def test_jpeg_in_ybr_is_converted_once(tmp_path: Path) -> None:
    smooth = np.zeros((16, 16, 3), np.uint8) + np.array([200, 30, 60], np.uint8)
    stream = io.BytesIO()
    Image.fromarray(smooth).save(stream, "jpeg", quality=95, subsampling=1)
    cine = ultrasound(np.stack([smooth] * 3), SamplesPerPixel=3, PlanarConfiguration=0)
    cine.PhotometricInterpretation, cine.PixelData = "YBR_FULL_422", encapsulate([stream.getvalue()] * 3)
    cine["PixelData"].is_undefined_length = True
    pixels = load(save(cine, tmp_path / "x", JPEGBaseline8Bit))
    assert np.abs(pixels.array.astype(int) - (200, 30, 60)).max() <= 3


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_byte_orders_give_native_values(syntax: str, tmp_path: Path) -> None:
    values = np.arange(-3, 9, dtype=np.int16).reshape(3, 4)
    stored = values.astype(">i2") if syntax == ExplicitVRBigEndian else values
    dx = radiograph(values)
    dx.PixelData = stored.tobytes()
    array = load(save(dx, tmp_path / "x", syntax)).array
    assert array.tolist() == values.tolist()
    assert array.dtype.isnative


def test_bits_above_bits_stored_are_ignored(tmp_path: Path) -> None:
    values = np.array([[0xF001, 0x0FFF]], np.uint16)  # an overlay in the upper four bits
    dx = radiograph(values, BitsStored=12, HighBit=11)
    assert load(save(dx, tmp_path / "x")).array.tolist() == [[1, 4095]]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression_changes_nothing(syntax: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 4096, (2, 32, 48)).astype(np.uint16)
    cine = ultrasound(values, BitsStored=12, HighBit=11)
    compress(cine, syntax, values, generate_instance_uid=False)
    assert (load(save(cine, tmp_path / "x", syntax)).array == values).all()


def test_twelve_bit_jpeg_agrees_with_the_lossless_version_of_the_same_image(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "compressed"
    lossy, better = load(folder / "RG3_JPLY"), load(folder / "RG3_J2KI")
    difference = np.abs(lossy.array.astype(int) - better.array)
    assert (difference.mean() < 2, difference.max() < 64) == (True, True)
    assert pydicom.dcmread(folder / "RG3_JPLY").file_meta.TransferSyntaxUID == JPEGExtended12Bit


def video(frames: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mpeg2video") as container:
        track = container.add_stream("mpeg2video", rate=Fraction(25), width=64, height=48, pix_fmt="yuv420p")
        track.bit_rate = 4_000_000
        for frame in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(track.encode(None))
    return stream.getvalue()


def mpeg(frames: npt.NDArray[np.uint8], announced: int) -> Dataset:
    cine = ultrasound(frames, SamplesPerPixel=3, PlanarConfiguration=0, FrameTime=40)
    cine.PhotometricInterpretation, cine.NumberOfFrames = "YBR_PARTIAL_420", announced
    data = video(frames)
    cine.PixelData = encapsulate([data + b"\0" * (len(data) % 2)])
    cine["PixelData"].is_undefined_length = True
    return cine


BRIGHTENING = np.stack([np.full((48, 64, 3), 40 + 20 * n, np.uint8) for n in range(8)])


def test_video_streams_are_decoded_frame_by_frame(tmp_path: Path) -> None:
    pixels = load(save(mpeg(BRIGHTENING, 8), tmp_path / "x", MPEG2MPML))
    assert pixels.array.shape == (8, 48, 64, 3)
    assert np.abs(pixels.array.astype(int) - BRIGHTENING).max() <= 6
    assert pixels.grid.frame_times_s[-1] == pytest.approx(0.28)


@pytest.mark.parametrize("announced", [7, 9])
def test_video_with_another_number_of_frames_than_announced_is_refused(announced: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frames"):
        load(save(mpeg(BRIGHTENING, announced), tmp_path / "x", MPEG2MPML))


def test_enhanced_ct_has_its_own_position_and_rescale_for_each_frame(tmp_path: Path) -> None:
    heights = [4.0, 0.0, 2.0]
    values = np.stack([np.full((4, 6), 100 + n, np.int16) for n in range(3)])
    dataset = enhanced_ct([(10, 20, z) for z in heights], values)
    (record,) = records([save(dataset, tmp_path / "x")])
    assert record.series is not None, record.reason
    pixels = Dicom().pixels(record.series)
    # frame n: (n + 1) * (100 + n) - n, sorted by height
    assert pixels.array[:, 0, 0].tolist() == [2 * 101 - 1, 3 * 102 - 2, 100]
    assert [record.series.source(d)[1] for d in range(3)] == [1, 2, 0]
    assert record.series.facts["BodyPartExamined"] == "CHEST"
    assert (pixels.unit, pixels.window) == ("HU", (40, 400))
    np.testing.assert_allclose(pixels.grid.position((0, 0, 0)), (-10, -20, 0))
    np.testing.assert_allclose(pixels.grid.spacing, (2, 0.5, 0.8))


def test_mr_is_grey_and_keeps_its_geometry(tmp_path: Path) -> None:
    def mr(dataset: Dataset, _number: int) -> None:
        dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"

    pixels = load(*ct_series(tmp_path, edit=mr))
    assert (pixels.unit, pixels.grid.space) == ("grey", "patient")


def test_a_ct_that_does_not_say_its_units_is_only_grey(tmp_path: Path) -> None:
    def unstated(dataset: Dataset, _number: int) -> None:
        del dataset.RescaleIntercept, dataset.RescaleSlope

    assert load(*ct_series(tmp_path, edit=unstated)).unit == "grey"


def test_a_file_that_changed_since_it_was_indexed_is_not_believed(tmp_path: Path) -> None:
    paths = ct_series(tmp_path)
    (record,) = records(paths)
    ct_series(tmp_path)
    assert record.series is not None
    with pytest.raises(InputError, match="changed"):
        Dicom().pixels(record.series)


def test_budget_is_asked_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = records(ct_series(tmp_path))
    assert record.series is not None
    monkeypatch.setenv("MEDCAM_DECODE_GIB", "1e-8")
    with pytest.raises(BudgetError) as refusal:
        Dicom().pixels(record.series)
    assert refusal.value.code == "too-large"
    assert records(sorted(tmp_path.iterdir()))[0].reason.code == "too-large"


@pytest.mark.parametrize("folder", ["LUNG1-001", "IBSI_PAT1_lung"])
def test_real_ct_has_the_values_and_places_that_simpleitk_gives(folder: str, shared_data: Path) -> None:
    source = shared_data / "dicom" / "ct_series" / folder
    pixels = load(*sorted(path for path in source.glob("*.dcm") if "rtstruct" not in path.name))
    reader = SimpleITK.ImageSeriesReader()
    (series,) = [
        s for s in reader.GetGDCMSeriesIDs(str(source)) if len(reader.GetGDCMSeriesFileNames(str(source), s)) > 1
    ]
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source), series))
    volume = reader.Execute()
    assert (pixels.array == SimpleITK.GetArrayFromImage(volume)).all()
    far = [size - 1 for size in pixels.grid.shape]
    theirs = np.array(volume.TransformIndexToPhysicalPoint(far[::-1])) * (-1, -1, 1)
    np.testing.assert_allclose(pixels.grid.position(far), theirs, atol=1e-3)


@pytest.mark.parametrize(("syntax", "kind"), [(JPEGBaseline8Bit, "jpeg"), (JPEG2000Lossless, "jpeg2000")])
def test_a_frame_that_claims_another_size_than_its_header_is_not_decoded(
    syntax: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.tile(np.arange(0, 240, 15, dtype=np.uint8), (8, 1))
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind)
    still = ultrasound(values)
    still.PixelData = encapsulate([stream.getvalue()])
    still["PixelData"].is_undefined_length = True
    path = save(still, tmp_path / "x", syntax)
    assert np.abs(load(path).array.astype(int) - values).max() < 12
    monkeypatch.setattr(_dicom_decode, "get_decoder", lambda _syntax: pytest.fail("a decoder was asked"))
    size = struct.pack(">HH", 8, 16) if kind == "jpeg" else struct.pack(">II", 16, 8)
    bomb = struct.pack(">HH", 65000, 65000) if kind == "jpeg" else struct.pack(">II", 2**31, 2**31)
    path.write_bytes(path.read_bytes().replace(size, bomb))
    with pytest.raises(InputError) as refusal:
        load(path)
    assert refusal.value.code == "decode-failed"
