"""Pictures: values against tifffile and bytes written by hand, all orientations, and what is refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms

from medcam.errors import BudgetError, InputError
from medcam.readers.image import Image
from medcam.study import Pixels, SeriesRecord

READER = Image()
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def record(path: Path) -> SeriesRecord:
    assert READER.recognises(path, path.read_bytes()[:1024])
    (found,) = READER.series([READER.header(path)])
    return found


def read(path: Path) -> Pixels:
    series = record(path).series
    assert series is not None
    pixels = READER.pixels(series)
    assert pixels.grid == series.grid
    assert pixels.colour == series.colour
    return pixels


def png(path: Path, width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG by hand (ISO/IEC 15948): `rows` with their filter bytes."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    blocks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(blocks))
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize("values", [GREY, COLOUR], ids=["grey", "colour"])
def test_values_come_as_they_are_stored(tmp_path: Path, name: str, values: np.ndarray) -> None:
    Pillow.fromarray(values).save(tmp_path / name)
    pixels = read(tmp_path / name)
    assert np.array_equal(pixels.array, values)
    assert (pixels.unit, pixels.steps) == ("RGB" if values.ndim == 3 else "grey", ())


def test_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", 3, 1, 16, 0, b"\0" + bytes([0, 1, 0x12, 0x34, 0xFF, 0xFF]))
    pixels = read(path)
    assert pixels.array.tolist() == [[1, 0x1234, 0xFFFF]]
    for order in "<>":
        values = np.array([[0, 1, 40000, 65535]], f"{order}u2")
        tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order)
        pixels = read(tmp_path / "a.tif")
        assert pixels.array.tolist() == [[0, 1, 40000, 65535]]
        assert pixels.array.dtype.isnative


def test_sixteen_bit_colour_is_reduced_and_said_so(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", 1, 1, 16, 2, b"\0" + bytes([0x12, 0, 0x80, 0xFF, 0xFF, 1]))
    pixels = read(path)
    assert pixels.array.tolist() == [[[0x12, 0x80, 0xFF]]]
    assert pixels.steps == ("16-bit colour reduced to 8 bits",)


def test_few_bits_are_spread_over_the_whole_range(tmp_path: Path) -> None:
    pixels = read(png(tmp_path / "a.png", 4, 1, 2, 0, b"\0" + bytes([0b00011011])))
    assert pixels.array.tolist() == [[0, 85, 170, 255]]


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero_is_inverted_once(tmp_path: Path, dtype: str) -> None:
    top = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 1, top]], dtype), photometric="miniswhite")
    assert read(tmp_path / "a.tif").array.tolist() == [[top, top - 1, 0]]


def test_palettes_are_applied(tmp_path: Path) -> None:
    rows = b"\0" + bytes([0, 1, 2])
    colours = png(tmp_path / "a.png", 3, 1, 8, 3, rows, (b"PLTE", bytes([255, 0, 0, 0, 255, 0, 1, 2, 3])))
    pixels = read(colours)
    assert pixels.array.tolist() == [[[255, 0, 0], [0, 255, 0], [1, 2, 3]]]
    assert pixels.steps == ("palette applied",)
    greys = png(tmp_path / "b.png", 3, 1, 8, 3, rows, (b"PLTE", bytes([9, 9, 9, 200, 200, 200, 0, 0, 0])))
    pixels = read(greys)
    assert pixels.array.tolist() == [[9, 200, 0]]
    assert not pixels.colour


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    pixels = read(png(tmp_path / "a.png", 2, 1, 8, 6, b"\0" + bytes([10, 20, 30, 0, 40, 50, 60, 128])))
    assert pixels.array.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert pixels.steps == ("transparency dropped",)
    pixels = read(png(tmp_path / "b.png", 2, 1, 8, 4, b"\0" + bytes([10, 0, 40, 128])))
    assert pixels.array.tolist() == [[10, 40]]
    assert not pixels.colour


UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {  # TIFF 6.0, tag 274: where the stored first row and first column are in the upright picture
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],
    7: UPRIGHT.T[::-1, ::-1],
    8: UPRIGHT.T[:, ::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["raw.tif", "zlib.tif", "a.png"])
def test_all_eight_orientations_are_turned_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    stored = np.ascontiguousarray(STORED[orientation])
    if kind == "a.png":
        exif = Pillow.Exif()
        exif[274] = orientation
        Pillow.fromarray(stored).save(tmp_path / kind, exif=exif)
    else:
        compression = "zlib" if kind.startswith("zlib") else None
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / kind, stored, compression=compression, extratags=tags)
    pixels = read(tmp_path / kind)
    assert pixels.array.tolist() == UPRIGHT.tolist()
    assert bool(pixels.steps) == (orientation != 1)


def test_jpeg_is_close_to_what_was_saved_and_keeps_its_orientation(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    exif = Pillow.Exif()
    exif[274] = 6
    Pillow.fromarray(np.ascontiguousarray(smooth.T[::-1])).save(tmp_path / "a.jpg", quality=95, exif=exif)
    Pillow.fromarray(smooth).save(tmp_path / "b.jpg", quality=95)
    assert np.abs(read(tmp_path / "b.jpg").array.astype(int) - smooth).max() <= 4
    turned = read(tmp_path / "a.jpg")
    assert np.abs(turned.array.astype(int) - smooth).max() <= 4
    assert turned.steps == ("turned upright by EXIF orientation 6",)


def test_an_orientation_behind_the_pixels_is_not_overlooked(tmp_path: Path) -> None:
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    rows = b"\0" + bytes([1, 2, 3])
    assert read(png(tmp_path / "a.png", 3, 1, 8, 0, rows, (b"eXIf", exif))).array.tolist() == [[1], [2], [3]]
    data = png(tmp_path / "b.png", 3, 1, 8, 0, rows).read_bytes()
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    (tmp_path / "b.png").write_bytes(data[:-12] + chunk + data[-12:])
    assert refusal(tmp_path / "b.png") == "malformed"


def test_a_colour_profile_is_mentioned(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Pillow.fromarray(COLOUR).save(tmp_path / "a.png", icc_profile=profile)
    pixels = read(tmp_path / "a.png")
    assert np.array_equal(pixels.array, COLOUR)
    assert pixels.steps == ("colour profile not applied",)


def test_print_resolution_is_not_taken_for_millimetres(tmp_path: Path) -> None:
    Pillow.fromarray(GREY).save(tmp_path / "a.png", dpi=(300, 300))
    grid = read(tmp_path / "a.png").grid
    assert not grid.mm_known
    assert grid.spacing == (1.0, 1.0)
    assert grid.sides() == ("", "", "", "")


def refusal(path: Path) -> str:
    try:
        found = record(path)
        if found.series is not None:
            READER.pixels(found.series)
    except InputError as error:
        return error.code
    assert found.reason is not None
    return found.reason.code


def test_what_is_refused_and_why(tmp_path: Path) -> None:
    Pillow.fromarray(COLOUR).convert("CMYK").save(tmp_path / "cmyk.jpg")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([GREY, GREY]), photometric="minisblack")
    Pillow.fromarray(GREY).save(tmp_path / "moves.png", save_all=True, append_images=[Pillow.fromarray(GREY[::-1])])
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg", "cut.tif", "cut.bmp"):
        Pillow.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    (tmp_path / "noise.png").write_bytes(bytes(range(256)))
    (tmp_path / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "loop.tif").write_bytes(b"II*\0\x08\0\0\0\0\0\x08\0\0\0")
    (tmp_path / "disguised.png").write_bytes(b"GIF89a" + bytes(50))
    found = {path.name: refusal(path) for path in sorted(tmp_path.iterdir())}
    assert found == {
        "cmyk.jpg": "photometric",
        "cut.bmp": "truncated",
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "cut.tif": found["cut.tif"],
        "disguised.png": "malformed",
        "head.png": "malformed",
        "loop.tif": "malformed",
        "moves.png": "mixed-times",
        "noise.png": "malformed",
        "pages.tif": "mixed-times",
    }
    assert found["cut.tif"] in ("truncated", "malformed")


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    path = png(tmp_path / "bomb.png", 60_000, 60_000, 8, 0, bytes(1000))
    series = record(path).series
    assert series is not None
    with pytest.raises(BudgetError):
        READER.pixels(series)


def test_pyramids_are_left_to_the_reader_of_slides(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        for size in (512, 256):
            file.write(np.zeros((size, size, 3), np.uint8), tile=(128, 128))
    tifffile.imwrite(tmp_path / "tiled.tif", np.zeros((512, 512, 3), np.uint8), tile=(128, 128))
    heads = {path.name: READER.recognises(path, path.read_bytes()[:1024]) for path in tmp_path.iterdir()}
    assert heads == {"pyramid.tif": False, "tiled.tif": True}


def test_real_chest_x_rays_are_read_as_other_libraries_read_them(shared_data: Path) -> None:
    paths = sorted((shared_data / "cxr").rglob("*.png"))[::12] + sorted((shared_data / "cxr").rglob("*.jpg"))[:2]
    assert len(paths) > 4
    for path in paths:
        pixels = read(path)
        with Pillow.open(path) as picture:
            assert pixels.array.shape[:2] == picture.size[::-1]
            assert np.array_equal(pixels.array, np.asarray(picture.convert("RGB" if pixels.colour else "L")))
