"""The reader as a whole: what it recognises, hostile and damaged files, and every real file there is."""

import json
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from medcam.errors import REASONS, BudgetError, InputError
from medcam.readers.base import Header
from medcam.readers.dicom import Dicom
from tests.readers.dicom_zoo import ct_series, headers, load, radiograph, records, save, ultrasound

NESTED_LEVELS = 5000


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        Dicom().header(path)
    assert error.value.code in REASONS
    return error.value.code


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """One element in explicit VR, little endian."""
    if vr in (b"OB", b"OW", b"SQ", b"UN"):
        return struct.pack("<HH2s2xI", group, number, vr, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def part10(syntax: str, dataset: bytes) -> bytes:
    """A file of a data set that is given as bytes."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(2, 0x10, b"UI", uid)
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + dataset


def test_recognises_dicom_by_its_bytes_and_knows_its_endings(tmp_path: Path) -> None:
    (path,) = ct_series(tmp_path, [(0, 0, 0)])
    head = path.read_bytes()[:1024]
    assert Dicom().recognises(Path("IM0001"), head)
    assert Dicom().recognises(Path("IM0001"), head[132:])  # the preamble is gone
    assert Dicom().recognises(Path("x.DCM"), b"no such thing")
    for other in (
        b"",
        b"\x89PNG\r\n",
        b"\xff\xd8\xff\xe0",
        b"x,y\n1,2",
        b"\x1f\x8b\x08",
        b"\0" * 1024,
        b"\x08\0\xff\xff1234",
    ):
        assert not Dicom().recognises(Path("x"), other)


def test_a_header_is_plain_json_and_small(tmp_path: Path) -> None:
    (header,) = headers(ct_series(tmp_path, [(0, 0, 0)]))
    plain = json.dumps(header.to_dict())
    assert Header(**json.loads(plain)) == header
    assert len(plain) < 2000
    assert (header.reader, header.size_bytes) == ("dicom", Path(header.path).stat().st_size)


def test_character_sets(tmp_path: Path) -> None:
    dx = radiograph(np.zeros((2, 2), np.uint8), SpecificCharacterSet="ISO_IR 192", PatientName="Müller^山田")
    (header,) = headers([save(dx, tmp_path / "x")])
    assert header.facts["PatientName"] == "Müller^山田"


def test_deep_nesting_is_refused_without_hurting_the_interpreter(tmp_path: Path) -> None:
    undefined = struct.pack("<HH2s2xI", 0x0040, 0x0275, b"SQ", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path = tmp_path / "deep"
    path.write_bytes(part10(ExplicitVRLittleEndian, undefined * NESTED_LEVELS))
    start = time.perf_counter()
    with pytest.raises(BudgetError) as error:
        Dicom().header(path)
    assert error.value.code == "too-deep"
    assert time.perf_counter() - start < 5


def test_deep_nesting_of_stated_lengths_is_not_followed(tmp_path: Path) -> None:
    inside = b""
    for _ in range(2000):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inside)) + inside
        inside = element(0x0018, 0x6011, b"SQ", item)  # the sequence of ultrasound regions, which is read
    path = tmp_path / "deep"
    path.write_bytes(part10(ExplicitVRLittleEndian, inside))
    (record,) = records([path])
    assert (record.status, record.reason.code) == ("skipped", "no-pixels")


@pytest.mark.parametrize("frames", [1, 1000])
def test_announced_size_is_not_allocated(frames: int, tmp_path: Path) -> None:
    bomb = ultrasound(np.zeros((frames, 1, 1), np.uint8))
    bomb.Rows = bomb.Columns = 65535
    bomb.PixelData = encapsulate([b"\0" * 64] * frames)
    bomb["PixelData"].is_undefined_length = True
    (record,) = records([save(bomb, tmp_path / "x", RLELossless)])
    assert (record.status, record.reason.code) == ("refused", "too-large")


def test_announced_number_of_frames_is_not_believed(tmp_path: Path) -> None:
    for count, code in (("999999999", "truncated"), ("0", "malformed"), ("1A", "malformed"), ("-3", "malformed")):
        cine = ultrasound(np.zeros((2, 4, 4), np.uint8))
        path = save(cine, tmp_path / count)
        old = cine["NumberOfFrames"].value
        text = f"{count} " if len(count) % 2 else count
        was = element(0x28, 8, b"IS", f"{old} ".encode())
        path.write_bytes(path.read_bytes().replace(was, element(0x28, 8, b"IS", text.encode())))
        assert records([path])[0].reason.code == code


def test_inflation_is_refused_before_it_happens(tmp_path: Path) -> None:
    squeezer = zlib.compressobj(9, wbits=-15)
    squeezed = squeezer.compress(bytes(1 << 26)) + squeezer.flush()
    path = tmp_path / "bomb"
    path.write_bytes(part10(DeflatedExplicitVRLittleEndian, squeezed))
    assert refusal(path) == "deflated"


@pytest.mark.parametrize(
    "wrong",
    [
        element(0x28, 0x10, b"UL", struct.pack("<I", 4)),
        element(0x28, 0x10, b"US", b""),
        element(0x28, 0x10, b"DS", b"4 "),
    ],
)
def test_rows_must_be_two_bytes(wrong: bytes, tmp_path: Path) -> None:
    path = save(radiograph(np.zeros((4, 4), np.uint16)), tmp_path / "x")
    data = path.read_bytes()
    right = element(0x28, 0x10, b"US", struct.pack("<H", 4))
    assert right in data
    path.write_bytes(data.replace(right, wrong))
    if wrong.endswith(b"\0\0") and len(wrong) == 8:
        assert records([path])[0].reason.code == "malformed"  # an empty value is no value
    else:
        assert refusal(path) == "malformed"


def test_a_declared_length_of_four_gigabytes_in_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(part10(ExplicitVRLittleEndian, struct.pack("<HH2s2xI", 9, 0x10, b"OB", 0xFFFFFFF0) + b"abc"))
    assert refusal(path) == "truncated"


def test_an_unknown_transfer_syntax_is_refused_by_its_name(tmp_path: Path) -> None:
    path = save(radiograph(np.zeros((4, 4), np.uint8)), tmp_path / "x")
    for uid, name in (("1.2.840.10008.1.2.4.94", "JPIP Referenced"), ("1.2.3.4.5.6.7.8.9.10", "1.2.3.4.5.6.7.8.9.10")):
        path.write_bytes(part10(uid, path.read_bytes()[path.read_bytes().index(b"\x08\x00\x08\x00CS") :]))
        (record,) = records([path])
        assert record.reason.code == "transfer-syntax"
        assert name in record.reason.detail


def test_a_data_set_without_file_meta_information(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    for number, syntax in enumerate((ExplicitVRLittleEndian, ImplicitVRLittleEndian)):
        path = save(radiograph(values), tmp_path / str(number), syntax)
        bare = path.read_bytes()
        path.write_bytes(bare[bare.index(b"\x08\x00\x08\x00") :])
        assert load(path).array.tolist() == values.tolist()
        path.write_bytes(path.read_bytes() + b"more than the header says")
        path.write_bytes(path.read_bytes()[:-40])
        assert records([path])[0].reason.code == "truncated"


def test_a_preamble_of_another_format_and_a_path_for_a_uid_do_no_harm(tmp_path: Path) -> None:
    path = save(radiograph(np.zeros((4, 4), np.uint8)), tmp_path / "x")
    path.write_bytes(b"MZ" + path.read_bytes()[2:])
    assert load(path).array.shape == (4, 4)
    dx = radiograph(np.zeros((4, 4), np.uint8))
    data = save(dx, path).read_bytes()
    uid = dx.SOPInstanceUID.encode()
    path.write_bytes(data.replace(uid, b"../../../escape/evil"[: len(uid)].ljust(len(uid), b"x")))
    assert load(path).array.shape == (4, 4)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["x"]


def test_messages_hold_no_free_text_of_the_header(tmp_path: Path) -> None:
    planted = "<b>Planted</b>\n=cmd|' /C calc'!A0"
    dx = radiograph(np.zeros((2, 2), np.uint8))
    for keyword in ("PhotometricInterpretation", "SOPClassUID", "ImageType"):
        path = save(dx, tmp_path / keyword)
        tag = {"PhotometricInterpretation": (0x28, 4), "SOPClassUID": (8, 0x16), "ImageType": (8, 8)}[keyword]
        vr = b"UI" if keyword == "SOPClassUID" else b"CS"
        old = dx[keyword].value
        text = ("\\".join(old) if keyword == "ImageType" else str(old)).encode()
        text += (b"\0" if vr == b"UI" else b" ") * (len(text) % 2)
        value = planted.encode() if keyword != "ImageType" else b"DERIVED\\SECONDARY\\" + planted.encode()
        value += b" " * (len(value) % 2)
        data = path.read_bytes()
        assert element(*tag, vr, text) in data
        path.write_bytes(data.replace(element(*tag, vr, text), element(*tag, vr, value)))
        (record,) = records([path])
        assert record.status != "used"
        assert not set("<>=|'!\n") & set(record.reason.detail)


@pytest.mark.parametrize("kind", ["ct", "cine"])
def test_damage_anywhere_is_an_input_error_and_nothing_else(kind: str, tmp_path: Path) -> None:
    """Cut at many places, and with bytes changed at random: a code of REASONS or sound pixels, no other exception."""
    if kind == "ct":
        (path,) = ct_series(tmp_path, [(0, 0, 0)])
    else:
        cine = ultrasound(np.zeros((3, 8, 8), np.uint8), FrameTime=40)
        cine.PixelData = encapsulate([bytes([0] * 64) + bytes(range(64))] * 3)
        cine["PixelData"].is_undefined_length = True
        path = save(cine, tmp_path / "x", RLELossless)
    sound = path.read_bytes()
    generator = np.random.default_rng(7)
    damaged = [sound[:length] for length in range(0, len(sound), 9)]
    for _ in range(250):
        data = np.frombuffer(sound, np.uint8).copy()
        places = generator.integers(132, len(data), generator.integers(1, 6))
        data[places] = generator.integers(0, 256, len(places))
        damaged.append(data.tobytes())
    outcomes = Counter(outcome(path, data) for data in damaged)
    assert set(outcomes) <= {"used", *REASONS}
    assert len(outcomes) > 4


def outcome(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        (record,) = Dicom().series([Dicom().header(path)])
        if record.series is None:
            return record.reason.code
        Dicom().pixels(record.series)
    except InputError as error:
        return error.code
    return "used"


def test_every_real_file_has_one_fate(shared_data: Path) -> None:
    folder = shared_data / "dicom"
    reader, found, refused = Dicom(), [], Counter()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        with path.open("rb") as file:
            head = file.read(1024)
        if not reader.recognises(path, head):
            refused["not recognised"] += 1
            continue
        try:
            found.append(reader.header(path))
        except InputError as error:
            refused[error.code] += 1
    assert refused == {"not recognised": 5, "malformed": 5, "deflated": 2, "truncated": 1}
    series = reader.series(found)
    assert sorted(path for record in series for path in record.files) == sorted(header.path for header in found)
    fates = Counter(record.status if record.reason is None else record.reason.code for record in series)
    safe = {"used": 40, "mixed-geometry": 2, "duplicate-positions": 2, "missing-slices": 1, "gantry-tilt": 1}
    safe |= {"no-geometry": 1, "conflicting-copies": 1}
    assert {code: fates[code] for code in safe} == safe
    names = {Path(path).name: record for record in series for path in record.files}
    assert names["12.dcm"].reason.detail.endswith("a shear of 18.5 degrees, the tag says 18.5 degrees.")
    assert names["nih_test5.dcm"].reason.code == "derived"  # a chest X-ray that calls itself CT
    for record in series:
        if record.series is not None and record.series.reader == "dicom":
            pixels = reader.pixels(record.series)
            assert pixels.array.max() > pixels.array.min()
