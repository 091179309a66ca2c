import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing

from medcam.transforms._spacing import Respace


@pytest.mark.parametrize("spacing_mm", [(3.5, 4.0, 4.0), (1.0, 2.0, 0.5), (0.7, 1.5, 2.9), (100.0, 1.5, 1.5)])
@pytest.mark.parametrize("kind", [torch.int16, torch.float32])
def test_the_values_are_those_of_monai(spacing_mm, kind) -> None:
    rng = np.random.default_rng(3)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * (1.5, 0.7, 0.9), rng.uniform(-200, 200, 3)
    values = torch.from_numpy(rng.integers(-1000, 1000, (1, 21, 40, 33))).to(kind)
    image = MetaTensor(values, affine=torch.from_numpy(affine))
    expected = Spacing(spacing_mm, mode="bilinear", padding_mode="border", dtype=np.float32)(image)
    found = Respace(spacing_mm)(image)
    assert (found.dtype, found.shape) == (torch.float32, expected.shape)
    # grid_sample knows places to a few millionths of the axis only, and neighbours differ by up to 2000
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=0.05)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-9)


def test_what_changes_evenly_in_space_is_exact() -> None:
    affine = torch.diag(torch.tensor([1.5, 0.7, 0.7, 1.0], dtype=torch.float64))
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (20, 30, 40)), indexing="ij"), -1).double()
    ramp = (index * affine.diag()[:3]) @ torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)  # of mm
    moved = Respace((2.0, 1.1, 0.5))(MetaTensor(ramp[None].float(), affine=affine))
    at = torch.stack(torch.meshgrid(*(torch.arange(n) for n in moved.shape[1:]), indexing="ij"), -1).double()
    mm = (at * moved.affine.diag()[:3]).minimum(index[-1, -1, -1] * affine.diag()[:3])  # the last voxel holds beyond
    np.testing.assert_allclose(
        moved[0].numpy(), mm @ torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64), rtol=1e-5, atol=1e-3
    )


def test_one_slice_stays_one_slice() -> None:
    image = MetaTensor(torch.arange(12.0).reshape(1, 1, 3, 4), affine=torch.eye(4, dtype=torch.float64))
    moved = Respace((5.0, 1.0, 1.0))(image)
    np.testing.assert_array_equal(moved.numpy(), image.numpy())
    assert moved.affine.diag().tolist() == [5, 1, 1, 1]
