from pathlib import Path

import pytest

from medcam.data.manifest import Manifest
from medcam.errors import UsageError

HEADER = "file,label,patient_id\n"


def write(folder: Path, text: str, files: str = "a.png b.png c.png", encoding: str = "utf-8") -> Path:
    for name in files.split():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"x")
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def refusal(path: Path, code: str = "manifest", **where: str) -> str:
    with pytest.raises(UsageError) as caught:
        Manifest.read(path, where)
    assert caught.value.code == code
    return str(caught.value)


def test_rows_say_what_the_cells_say(tmp_path: Path) -> None:
    text = (
        "\ufefffile,label,patient_id,study_id,exam,sex,note\r\n"
        ' a.png ,opacity,p1,s1,e1,F,"said ""no"", twice,\nover two lines"\r\n'
        "\r\n"
        f"{tmp_path}/sub/../b.png,none,p2,s2,,M,\r\n"
        "sub\\c.png,none,p3,,,M,\r\n"
    )
    rows = Manifest.read(write(tmp_path, text, "a.png b.png sub/c.png")).rows
    assert [row.line for row in rows] == [2, 5, 6]  # the first one has two lines, and an empty one follows
    assert [row.file.read_bytes() for row in rows] == [b"x"] * 3
    assert all(row.file.is_absolute() for row in rows)
    assert [row.exam for row in rows] == ["e1", "s2", "sub\\c.png"]  # the column, else the study, else the file
    assert [(row.label, row.patient_id) for row in rows] == [("opacity", "p1"), ("none", "p2"), ("none", "p3")]
    assert rows[0].columns["note"] == 'said "no", twice,\nover two lines'
    assert rows[0].columns["file"] == " a.png "  # as it is written


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = HEADER + "a.png,1,p1\ngone.png,1,p2\nb.png,,p3\nc.png,0,\nd.png,0, Unknown \n,1,p5\nsub/../a.png,1,p1\n"
    said = refusal(write(tmp_path, text, "a.png b.png c.png d.png sub/x"))
    for problem in (
        "6 problems",
        "line 3: there is no file gone.png",
        "line 4: label is empty",
        "line 5: patient_id is empty",
        "line 6: patient_id is 'Unknown', which names nobody",
        "line 7: file is empty",
        "line 8: the file of line 2 once more",
    ):
        assert problem in said


def test_ten_problems_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, HEADER + "".join(f"{n}.png,1,p{n}\n" for n in range(13))))
    assert "13 problems" in said
    assert "line 11: there is no file 9.png and 3 more" in said
    assert "10.png" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file;label;patient_id\na.png;1;p1\n", "line 1: columns are separated by semicolons"),
        ("file\tlabel\tpatient_id\na.png\t1\tp1\n", "line 1: columns are separated by tabs"),
        ("file,label\na.png,1\n", "line 1: there is no column 'patient_id'"),
        ("file,label,patient_ids\na.png,1,p\n", "Did you mean patient_ids?"),
        ("file,label,patient_id,label\na.png,1,p1,1\n", "line 1: the column 'label' is there twice"),
        (HEADER + "a.png,1\nb.png,1,p,2\n", "line 2: 2 cells for 3 columns; line 3: 4 cells for 3 columns"),
        (HEADER + 'a.png,1,p1\nb.png,"1" x,p2\n', "line 3: not CSV"),
        (HEADER + 'a.png,1,p1\nb.png,"1,p2\n', "line 3: not CSV"),
        (HEADER, "there are no rows"),
        ("", "there are no rows"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(write(tmp_path, text))


def test_encodings_other_than_utf8_are_refused_with_the_line(tmp_path: Path) -> None:
    text = HEADER + "a.png,1,p1\nb.png,1,Müller\n"
    assert "line 3: not UTF-8" in refusal(write(tmp_path, text, encoding="latin-1"))
    assert "not UTF-8" in refusal(write(tmp_path, text, encoding="utf-16"))
    assert Manifest.read(write(tmp_path, text)).rows[1].patient_id == "Müller"
    assert "it cannot be read (No such file or directory)" in refusal(tmp_path / "gone.csv")


@pytest.mark.parametrize(("one", "other"), [("P1", "p1"), ("007", "7"), ("Ｐ1", "P1")])  # the last is full-width
def test_ids_that_look_like_one_patient_are_refused(tmp_path: Path, one: str, other: str) -> None:
    said = refusal(write(tmp_path, HEADER + f"a.png,1,{one}\nb.png,1,{other}\n"))
    assert f"line 3: patient_id '{other}' and '{one}' look like one patient" in said


def test_spaces_make_no_second_patient(tmp_path: Path) -> None:
    rows = Manifest.read(write(tmp_path, HEADER + "a.png,1,p1\nb.png,1, p1 \n")).rows
    assert {row.patient_id for row in rows} == {"p1"}


def test_an_exam_of_two_patients_is_refused(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, "file,label,patient_id,exam\na.png,1,p1,e\nb.png,1,p2,e\n"))
    assert "line 3: exam 'e' is of another patient in line 2" in said


def test_a_series_and_one_of_its_files_are_refused(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, HEADER + "series/1.dcm,1,p1\nseries,1,p1\n", "series/1.dcm"))
    assert "line 2: a file of the series of line 3 once more" in said


def test_where_keeps_and_checks_only_rows_that_fit(tmp_path: Path) -> None:
    text = "file,label,patient_id,view\na.png,1,p1,PA\nb.png,1,,AP\nsub/c.png,1,p3,PA\n"
    path = write(tmp_path, text, "a.png b.png sub/c.png")
    assert [row.line for row in Manifest.read(path, {"view": "PA"}).rows] == [2, 4]
    assert [row.line for row in Manifest.read(path, {"view": "PA", "file": "sub/*"}).rows] == [4]
    assert "patient_id is empty" in refusal(path, view="*P*")
    assert "No row of manifest.csv has view=pa. Known: AP, PA." in refusal(path, "bad-where", view="pa")
    assert "no column 'views'. Did you mean view?" in refusal(path, "bad-where", views="PA")


def test_a_star_is_the_only_sign(tmp_path: Path) -> None:
    text = "file,label,patient_id,kind\na.png,1,p1,[x]?\nb.png,1,p2,xy\nc.png,1,p3,[x]!\n"
    path = write(tmp_path, text)
    assert [row.line for row in Manifest.read(path, {"kind": "[x]?"}).rows] == [2]
    assert [row.line for row in Manifest.read(path, {"kind": "[x]*"}).rows] == [2, 4]


@pytest.mark.parametrize(
    ("folder", "where", "rows", "patients"),
    [
        ("cxr_lowres320", {}, 1139, 1010),
        ("cxr_lowres320", {"view_or_probe": "PA"}, None, None),
        ("cxr", {}, 36, 36),
        ("ultrasound", {}, 77, 30),
        ("histology", {"file": "idc/*"}, 1239, 8),
    ],
)
def test_real_manifests(shared_data: Path, folder: str, where: dict[str, str], rows: int, patients: int) -> None:
    manifest = Manifest.read(shared_data / folder / "manifest.csv", where)
    if rows is not None:
        assert (len(manifest.rows), len({row.patient_id for row in manifest.rows})) == (rows, patients)
    assert all(row.columns[name] == value for row in manifest.rows for name, value in where.items() if "*" not in value)
