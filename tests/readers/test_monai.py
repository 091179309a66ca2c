"""Our readers inside MONAI's LoadImage: places in mm as another library has them, refusals that stay refusals."""

import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import ImageReader
from monai.transforms import Compose, LoadImage, Orientation, Spacing
from PIL import Image

from medcam.errors import InputError, UsageError
from medcam.readers import monai_reader

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")  # MONAI's, on every LoadImage

OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.2, -0.1, 0.3) @ np.diag([-0.8, 0.9, 2.5]), [12.0, -30.0, 7.0]
)


def place(affine: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    return (np.asarray(affine) @ np.array([*index, 1.0]))[:-1]


def test_a_marked_voxel_lies_where_nibabel_says(tmp_path: Path) -> None:
    values = np.zeros((7, 8, 9), np.int16)
    values[2, 6, 5] = 1000
    nibabel.save(nibabel.Nifti1Image(values, OBLIQUE), tmp_path / "a.nii.gz")
    image = LoadImage(reader=monai_reader(), image_only=True)(tmp_path / "a.nii.gz")
    at = tuple(int(i) for i in np.unravel_index(int(torch.argmax(image)), image.shape))
    stored = nibabel.load(tmp_path / "a.nii.gz").affine
    assert np.allclose(place(image.affine, at), place(stored, (2, 6, 5)), atol=1e-4)
    assert image.affine.dtype == torch.float64


def test_it_goes_through_monais_own_transforms_like_monais_own_reader(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(10, 11, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, OBLIQUE), tmp_path / "a.nii")
    chain = [Orientation("RAS", labels=None), Spacing((1.0, 1.0, 2.0))]
    ours, theirs = (
        Compose([LoadImage(reader=reader, image_only=True, ensure_channel_first=True), *chain])(tmp_path / "a.nii")
        for reader in (monai_reader(), "NibabelReader")
    )
    assert ours.shape == theirs.shape
    assert torch.allclose(ours.affine, theirs.affine, atol=1e-6)
    assert torch.allclose(ours.as_tensor(), theirs.as_tensor(), atol=1e-4)


def test_pictures_come_columns_first_with_colour_as_channel(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    image = LoadImage(reader=monai_reader(), image_only=True, ensure_channel_first=True)(tmp_path / "a.png")
    assert image.shape == (3, 6, 5)
    assert np.array_equal(image.numpy(), picture.transpose(2, 1, 0))


def test_a_refusal_is_not_hidden_by_monais_other_readers(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 5), np.int16), np.eye(4)), tmp_path / "four.nii")
    assert LoadImage(image_only=True)(tmp_path / "four.nii").shape == (4, 4, 4, 5)  # MONAI alone reads on
    with pytest.raises(InputError) as refusal:
        LoadImage(reader=monai_reader(), image_only=True)(tmp_path / "four.nii")
    assert refusal.value.code == "mixed-times"


def test_more_than_one_series_or_none_is_a_question_to_the_user(tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), tmp_path / name)
    with pytest.raises(UsageError, match="2 series"):
        LoadImage(reader=monai_reader())(tmp_path)
    with pytest.raises(UsageError, match="No series"):
        LoadImage(reader=monai_reader("dicom"))(tmp_path)


def test_it_is_an_image_reader_that_travels_to_other_processes(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "a.nii")
    reader = monai_reader("nifti")
    assert isinstance(reader, ImageReader)
    assert reader.verify_suffix(tmp_path / "a.nii")
    assert not reader.verify_suffix(tmp_path / "b.nii")
    LoadImage(reader=reader)(tmp_path / "a.nii")
    again = pickle.loads(pickle.dumps(reader))
    assert LoadImage(reader=again, image_only=True)(tmp_path / "a.nii").shape == (3, 4, 5)


def test_a_real_ct_series_and_the_same_patient_as_nifti(shared_data: Path) -> None:
    """The IBSI patient exists as DICOM and as NIfTI made by others: the same tissue at the same place."""
    folder = shared_data / "dicom" / "ct_series" / "IBSI_PAT1_lung"
    other = nibabel.load(shared_data / "ct" / "ibsi_lung" / "image.nii.gz")
    series = LoadImage(reader=monai_reader("dicom"), image_only=True)(folder)
    places = np.array([[40.0, 20.0, -60.0], [-50.0, -10.0, -20.0], [0.0, 40.0, 0.0], [80.0, -60.0, -80.0]])
    inverse = np.linalg.inv(np.asarray(series.affine))
    theirs = np.asarray(other.dataobj)
    compared = 0
    for spot in places:
        ours = np.rint(inverse[:3, :3] @ spot + inverse[:3, 3]).astype(int)
        exact = (np.asarray(series.affine) @ [*ours, 1])[:3]
        there = np.linalg.inv(other.affine) @ [*exact, 1]
        if (
            (ours < 0).any()
            or (ours >= series.shape).any()
            or (there[:3] < 0).any()
            or (there[:3] > np.array(theirs.shape) - 1).any()
        ):
            continue
        near = np.rint(there[:3]).astype(int)
        assert np.abs(there[:3] - near).max() < 0.51
        assert abs(float(series[tuple(ours)]) - float(theirs[tuple(near)])) <= 1
        compared += 1
    assert compared >= 2
