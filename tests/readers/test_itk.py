"""NRRD and MetaImage: values and places against headers written by hand and SimpleITK, and what is refused."""

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medcam.errors import BudgetError, InputError
from medcam.readers.itk import Itk
from medcam.study import Pixels, Series, SeriesRecord

READER = Itk()
VALUES = np.arange(4 * 5 * 6, dtype="<i2").reshape(6, 5, 4)  # (k, j, i)
TURN = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, -1.0)


def record(path: Path) -> SeriesRecord:
    (found,) = READER.series([READER.header(path)])
    return found


def read(path: Path) -> tuple[Series, Pixels]:
    series = record(path).series
    assert series is not None
    return series, READER.pixels(series)


def image() -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray(VALUES)
    made.SetSpacing((0.7, 0.8, 2.5))
    made.SetOrigin((-11.0, 22.0, 33.0))
    made.SetDirection(TURN)
    return made


def nrrd(path: Path, *extra: str, data: bytes | None = None, **changed: str) -> Path:
    fields = {
        "type": "short",
        "dimension": "3",
        "space": "right-anterior-superior",
        "sizes": "4 5 6",
        "space directions": "(2,0,0) (0,3,0) (0,0,5)",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(10,20,30)",
    } | {name.replace("_", " "): value for name, value in changed.items()}
    lines = ["NRRD0004", *(f"{name}: {value}" for name, value in fields.items() if value), *extra, "", ""]
    path.write_bytes("\n".join(lines).encode() + (VALUES.tobytes() if data is None else data))
    return path


def meta(path: Path, data: bytes | None = None, **changed: str) -> Path:
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "10 20 30",
        "ElementSpacing": "2 3 5",
        "DimSize": "4 5 6",
        "ElementType": "MET_SHORT",
    } | changed
    fields["ElementDataFile"] = fields.pop("ElementDataFile", "LOCAL")  # the values follow it
    text = "".join(f"{name} = {value}\n" for name, value in fields.items() if value)
    path.write_bytes(text.encode() + (VALUES.tobytes() if data is None else data))
    return path


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd"])
@pytest.mark.parametrize("compressed", [True, False])
def test_every_voxel_lies_where_simpleitk_says(tmp_path: Path, name: str, compressed: bool) -> None:
    SimpleITK.WriteImage(image(), str(tmp_path / name), compressed)
    series, pixels = read(tmp_path / name)
    theirs = SimpleITK.ReadImage(str(tmp_path / name))
    for index in itertools.product((0, 3), (0, 2, 4), (0, 5)):
        x, y, z = theirs.TransformIndexToPhysicalPoint(index)  # LPS
        ours = pixels.grid.index([-x, -y, z])
        assert np.abs(ours - np.rint(ours)).max() < 1e-4
        assert pixels.array[tuple(np.rint(ours).astype(int))] == theirs.GetPixel(index)
    assert pixels.grid == series.grid
    assert pixels.grid.spacing == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_nrrd_spaces_by_hand(tmp_path: Path, space: str, signs: tuple[int, int, int]) -> None:
    """Index (i, j, k) lies at (10 + 2i, 20 + 3j, 30 + 5k) of the space that the header names."""
    _, pixels = read(nrrd(tmp_path / "a.nrrd", space=space))
    for i, j, k in itertools.product((0, 3), (0, 4), (0, 5)):
        place = np.array([10 + 2 * i, 20 + 3 * j, 30 + 5 * k]) * signs
        assert pixels.array[tuple(np.rint(pixels.grid.index(place)).astype(int))] == VALUES[k, j, i]
        assert np.abs(pixels.grid.index(place) % 1).max() < 1e-6


def test_metaimage_by_hand(tmp_path: Path) -> None:
    series, pixels = read(meta(tmp_path / "a.mha"))
    assert series.modality == ""
    for i, j, k in itertools.product((0, 3), (0, 4), (0, 5)):
        place = [-(10 + 2 * i), -(20 + 3 * j), 30 + 5 * k]
        assert pixels.array[tuple(np.rint(pixels.grid.index(place)).astype(int))] == VALUES[k, j, i]


def test_a_modality_is_believed_where_it_is_stated(tmp_path: Path) -> None:
    series, pixels = read(meta(tmp_path / "a.mha", Modality="MET_MOD_CT"))
    assert (series.modality, dict(series.facts), pixels.unit) == ("CT", {"Modality": "CT"}, "HU")
    series, pixels = read(meta(tmp_path / "b.mha", Modality="MET_MOD_UNKNOWN"))
    assert (series.modality, pixels.unit) == ("", "grey")


def test_a_flat_image_keeps_its_rows_and_spacing(tmp_path: Path) -> None:
    flat = SimpleITK.GetImageFromArray(np.arange(12, dtype=np.uint16).reshape(3, 4))
    flat.SetSpacing((0.14, 0.15))
    SimpleITK.WriteImage(flat, str(tmp_path / "xray.mha"))
    series, pixels = read(tmp_path / "xray.mha")
    assert series.kind == "image"
    assert pixels.array.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert series.grid.spacing == pytest.approx((0.15, 0.14))
    assert series.grid.mm_known


def test_values_in_a_separate_file_belong_to_the_series(tmp_path: Path) -> None:
    SimpleITK.WriteImage(image(), str(tmp_path / "a.mhd"))
    assert record(tmp_path / "a.mhd").files == (str(tmp_path / "a.mhd"), str(tmp_path / "a.raw"))
    data = tmp_path / "b.raw"
    data.write_bytes(VALUES.tobytes())
    _, pixels = read(nrrd(tmp_path / "b.nhdr", "data file: b.raw", data=b""))
    assert sorted(pixels.array.ravel()) == list(range(120))


def refusal(path: Path) -> str:
    try:
        found = record(path)
        if found.series is not None:
            READER.pixels(found.series)
    except InputError as error:
        return error.code
    assert found.reason is not None
    return found.reason.code


def test_what_is_refused_or_skipped_and_why(tmp_path: Path) -> None:
    outside = tmp_path / "outside.raw"
    outside.write_bytes(VALUES.tobytes())
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.raw").symlink_to(outside)
    nrrd(folder / "no_space.nrrd", space="", space_directions="", space_origin="", spacings="2 3 5")
    nrrd(folder / "scanner.nrrd", space="scanner-xyz")
    nrrd(folder / "no_origin.nrrd", space_origin="")
    nrrd(folder / "sheared.nrrd", space_directions="(2,0,0) (1,3,0) (0,0,5)")
    nrrd(folder / "flat_axis.nrrd", space_directions="(2,0,0) (0,0,0) (0,0,5)")
    nrrd(folder / "short.nrrd", data=VALUES.tobytes()[:-2])
    nrrd(folder / "gz.nrrd", encoding="gzip", data=gzip.compress(VALUES.tobytes())[:-30])
    SimpleITK.WriteImage(SimpleITK.JoinSeries([image(), image()]), str(folder / "four.nrrd"))
    SimpleITK.WriteImage(SimpleITK.JoinSeries([image(), image()]), str(folder / "four.mha"))
    nrrd(folder / "segments.nrrd", "Segment0_ID:=Segment_1")
    nrrd(folder / "odd_type.nrrd", type="banana")
    for number, name in enumerate(("../outside.raw", str(outside), "link.raw", "missing.raw", "a%d.raw 1 2 1", "LIST")):
        nrrd(folder / f"leads_{number}.nhdr", f"data file: {name}", data=b"")
        meta(folder / f"leads_{number}.mhd", data=b"", ElementDataFile=name)
    meta(folder / "no_place.mha", TransformMatrix="")
    meta(folder / "short.mha", data=VALUES.tobytes()[:-2])
    meta(folder / "colour.mha", ElementNumberOfChannels="3", DimSize="4 5 2")
    meta(folder / "no_data.mha", ElementDataFile="")
    (folder / "noise.mha").write_bytes(bytes(range(256)) * 8)
    (folder / "noise.nrrd").write_bytes(b"NRRD0004\n" + bytes(range(256)) * 8)
    (folder / "nothing.nrrd").write_bytes(b"NRRD0004\n\n")
    found = {path.name: refusal(path) for path in sorted(folder.iterdir()) if path.suffix != ".raw"}
    leads = {f"leads_{number}{end}": "malformed" for number in range(6) for end in (".mhd", ".nhdr")}
    assert found == leads | {
        "leads_3.mhd": "truncated",
        "leads_3.nhdr": "truncated",
        "colour.mha": "photometric",
        "flat_axis.nrrd": found["flat_axis.nrrd"],
        "four.mha": "mixed-times",
        "four.nrrd": "mixed-times",
        "gz.nrrd": "truncated",
        "no_data.mha": "malformed",
        "no_origin.nrrd": "no-geometry",
        "no_place.mha": "no-geometry",
        "no_space.nrrd": "no-geometry",
        "noise.mha": "malformed",
        "noise.nrrd": "malformed",
        "nothing.nrrd": "malformed",
        "odd_type.nrrd": "malformed",
        "scanner.nrrd": "no-geometry",
        "segments.nrrd": "segmentation",
        "sheared.nrrd": "gantry-tilt",
        "short.mha": "truncated",
        "short.nrrd": "truncated",
    }
    assert found["flat_axis.nrrd"] in ("no-geometry", "malformed")


@pytest.mark.parametrize(("name", "values"), [("a.mha", "a.mha"), ("a.mhd", "a.zraw"), ("a.nrrd", "a.nrrd")])
def test_damaged_compressed_values_are_not_read(tmp_path: Path, name: str, values: str) -> None:
    """ITK itself reads on in silence."""
    SimpleITK.WriteImage(image(), str(tmp_path / name), True)
    data = (tmp_path / values).read_bytes()
    for cut in range(len(data) - 60, len(data) - 2, 7):
        damaged = bytearray(data)
        damaged[cut] ^= 0x55
        (tmp_path / values).write_bytes(damaged)
        assert refusal(tmp_path / name) in ("decode-failed", "truncated"), cut


def test_a_header_that_promises_too_much_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    data = gzip.compress(bytes(1000))
    path = nrrd(tmp_path / "huge.nrrd", encoding="gzip", sizes="20000 20000 20000", data=data)
    with pytest.raises(BudgetError):
        read(path)


def test_messages_name_no_path(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "Doe_Jane.nrrd", encoding="gzip", data=b"no gzip")
    with pytest.raises(InputError) as refusal:
        read(path)
    assert "Doe" not in str(refusal.value)
