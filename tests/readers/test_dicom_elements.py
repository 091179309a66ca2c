"""The quick walk over plain elements finds what pydicom finds, in any encoding, and leaves the rest to it."""

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from medcam.readers import _dicom_elements as elements

WANTED = {0x00080005, 0x00080060, 0x00100010, 0x00180050, 0x00280010, 0x00082218, 0x00281053, 0x00080016}
ENCODINGS = [(True, True), (False, True), (False, False)]


def header(implicit, little, undefined_length=False, long=0):
    dataset, item = Dataset(), Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "Größe"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality, dataset.PatientName = "1.2.3", "CT", "Müller^Än"
    dataset.AnatomicRegionSequence = Sequence([item])
    dataset["AnatomicRegionSequence"].is_undefined_length = undefined_length
    dataset.SliceThickness, dataset.Rows, dataset.RescaleSlope = "1.25", 77, "2"
    dataset.add_new(0x00091001, "UN", b"p" * long)
    dataset.add_new(0x7FE00010, "OW", b"\1\2" * 10)
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, little
    write_dataset(stream, dataset)
    return stream.getvalue()


def before_pixels(tag, *_):
    return tag >> 16 >= 0x7FE0


def raw(dataset):
    return {int(tag): element.value for tag, element in dataset.items() if tag != 0x00082218 and element.value}


@pytest.mark.parametrize(("implicit", "little"), ENCODINGS)
@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("long", [0, 10, elements.BLOCK])
def test_it_finds_what_pydicom_finds_and_stops_where_pydicom_stops(implicit, little, undefined_length, long):
    data = header(implicit, little, undefined_length, long)
    mine, theirs = BytesIO(b"ab" + data), BytesIO(b"ab" + data)
    mine.seek(2), theirs.seek(2)
    found = elements.read_elements(mine, implicit, little, WANTED, before_pixels)
    expected = read_dataset(theirs, implicit, little, stop_when=before_pixels, specific_tags=list(WANTED))
    assert raw(found) == raw(expected)
    assert len(raw(found)) == 7
    assert mine.tell() == theirs.tell() == 2 + data.rindex(b"\1\2" * 10) - (8 if implicit else 12)
    assert found.AnatomicRegionSequence[0].CodeMeaning == "Größe"
    assert (found.Rows, found.SliceThickness, str(found.PatientName)) == (77, 1.25, "Müller^Än")


def test_plain_elements_are_not_left_to_pydicom():
    data = header(False, True)
    stream = BytesIO(data)
    plain, done = elements._plain(stream, False, True, WANTED, before_pixels)
    assert done
    assert set(map(int, plain)) == WANTED
    assert stream.tell() == data.rindex(b"\1\2" * 10) - 12


@pytest.mark.parametrize("damage", [b"??", b"zz", b"\0\0", b"Q1"])
def test_unknown_representations_are_read_as_pydicom_reads_them(damage):
    data = bytearray(header(False, True))
    place = data.index(b"DS")
    data[place : place + 2] = damage
    mine, theirs = BytesIO(data), BytesIO(data)
    found = elements.read_elements(mine, False, True, WANTED, before_pixels)
    expected = read_dataset(theirs, False, True, stop_when=before_pixels, specific_tags=list(WANTED))
    assert (raw(found), mine.tell()) == (raw(expected), theirs.tell())


def test_representations_in_a_data_set_said_to_be_without_are_noticed():
    with pytest.warns(UserWarning, match="found explicit VR"):
        found = elements.read_elements(BytesIO(header(False, True)), True, True, WANTED, before_pixels)
    assert (found.Modality, found.Rows) == ("CT", 77)


def test_an_element_that_is_longer_than_the_file_ends_the_walk():
    data = header(False, True)
    cut = data[: data.index(b"ller^")]
    plain, done = elements._plain(BytesIO(cut), False, True, WANTED, before_pixels)
    assert not done
    assert 0x00080060 in plain
    assert 0x00100010 not in plain
    assert elements.read_elements(BytesIO(cut), False, True, WANTED, before_pixels).Modality == "CT"


def test_meta_information_with_and_without_representations():
    uid = b"1.2.840.10008.1.2\0"
    plain = b"\2\0\1\0OB\0\0\2\0\0\0\0\1" + b"\2\0\x10\0UI" + len(uid).to_bytes(2, "little") + uid
    bare = b"\2\0\x10\0" + len(uid).to_bytes(4, "little") + uid
    for meta in (plain, bare):
        stream = BytesIO(meta + b"\x08\0\5\0CS\0\0")
        assert elements.read_meta(stream)[0x00020010] == "1.2.840.10008.1.2"
        assert stream.tell() == len(meta)
    stream = BytesIO(plain[:-3])
    assert elements.read_meta(stream)[0x00020010] == "1.2.840.10008.1"
