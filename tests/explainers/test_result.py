"""What can be done with a result: other grids, display, files, records."""

import io
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medcam.errors import UsageError
from medcam.explainers import Explained, explain
from medcam.findings import Explanation
from medcam.grid import Grid
from tests.explainers.nets import FrameWise, Linear


def volume() -> tuple[Explained, Grid]:
    affine = np.array([[0, 0, -0.8, 40.0], [0, -0.8, 0, 30.0], [2.5, 0, 0, -100.0], [0, 0, 0, 1]])
    grid = Grid.of((16, 24, 24), affine, space="patient", mm_known=True)
    torch.manual_seed(0)
    return explain(Linear(3).eval(), torch.randn(1, 1, 16, 24, 24), targets="all", grid=grid), grid


def test_on_input_passes_through_the_cells_at_their_places() -> None:
    """Stem and body, stride 2 each, without offset: cell i is input index 4 i, exactly."""
    explained = explain(Linear().eval(), torch.randn(2, 1, 16, 16), targets="all")
    on_input = explained.on_input()
    assert on_input.shape == (2, 3, 16, 16)
    torch.testing.assert_close(on_input[:, :, ::4, ::4], explained.evidence)
    stretched = explained.on_input(align=False)
    expected = torch.nn.functional.interpolate(explained.evidence, (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(stretched, expected)
    assert not torch.allclose(stretched, on_input)


def test_on_another_grid_is_zero_where_nothing_was_looked_at() -> None:
    explained, grid = volume()
    wider = grid.rescaled((20, 24, 24), 1, (-2, 0, 0))
    moved = explained.on(wider)
    torch.testing.assert_close(moved[:, :, 2:18], explained.on_input())
    assert moved[:, :, :2].abs().max() == 0
    assert moved[:, :, 18:].abs().max() == 0


def test_nifti_holds_the_raw_evidence_at_its_place(tmp_path) -> None:  # type: ignore[no-untyped-def]
    explained, grid = volume()
    image = nibabel.load(explained.save(tmp_path / "map.nii.gz", target=2))
    np.testing.assert_allclose(image.get_fdata(), explained.evidence[0, 2].numpy(), rtol=1e-6)
    np.testing.assert_allclose((image.affine @ [2, 3, 1, 1])[:3], grid.position((8, 12, 4)), atol=1e-4)
    assert image.header["sform_code"] == 1


def test_png_shows_original_and_overlay_on_the_peak_slice(tmp_path) -> None:  # type: ignore[no-untyped-def]
    explained, _ = volume()
    for data in (explained.save(tmp_path / "map.png").read_bytes(), explained._repr_png_()):
        picture = np.asarray(Image.open(io.BytesIO(data)))
        original, painted = picture[:, :24], picture[:, 28:52]
        assert (original[..., 0] == original[..., 1]).all(), "the original is grey and untouched"
        coloured = (painted != original).any(-1)
        peak = int(explained.on_input()[0, 0].flatten(1).amax(1).argmax())
        share = explained.on_input()[0, 0, peak] / explained.display_range(0)[1]
        assert np.array_equal(coloured, (share.abs() >= 0.25).numpy())


def test_unknown_suffix(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="bmp"):
        volume()[0].save(tmp_path / "map.bmp")


def test_one_display_range_for_all_targets_and_frames_of_a_sample() -> None:
    explained = explain(FrameWise(Linear()).eval(), torch.randn(3, 1, 4, 16, 16), targets="all")
    shown = explained.display()
    assert shown.min() >= 0
    assert shown.max() <= 1
    for sample in range(3):
        top = explained.display_range(sample)[1]
        torch.testing.assert_close(shown[sample], (explained.evidence[sample] / top).clamp(0, 1))


def test_a_healthy_image_is_not_painted_hot() -> None:
    """Cells of a single-channel map, worked out by hand: each tells its value, less where little speaks for."""
    head = nn.Linear(1, 1, bias=False)
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    nn.init.ones_(model[0].weight)
    nn.init.constant_(head.weight, 64.0)  # of 8 x 8 cells: the logit is the sum of the image
    sick, faint, healthy = torch.zeros(3, 1, 1, 8, 8)
    sick[0, 0, 2, 2] = 10.0
    faint[0, 0, 2, 2] = 0.25
    healthy[0, 0, 2, 2], healthy[0, 0, 5, 5] = 2.0, -8.0
    x = torch.cat([sick, faint, healthy])
    for method in ("gradcam", "hirescam", "layercam"):
        explained = explain(model, x, method, targets=1, layer="0")
        assert explained.logits[:, 0].tolist() == [[10.0, 0.0], [0.25, 0.0], [2.0, 8.0]]
        assert explained.display().amax((1, 2, 3)).tolist() == pytest.approx([1.0, 0.25, 0.2])


def test_a_lesion_is_painted_whatever_the_pooling() -> None:
    """With log-sum-exp pooling Grad-CAM's cells do not add up to the logit, but the lesion is no less evident."""

    class LogSumExp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.logsumexp(self.map(x), (2, 3))

    model = LogSumExp()
    nn.init.ones_(model.map.weight)
    nn.init.zeros_(model.map.bias)
    x = torch.full((2, 1, 32, 32), -12.0)
    x[0, 0, 10:12, 10:12] = 5.0
    shown = explain(model, x, targets=1).display()
    assert shown[0].max() > 0.99
    assert shown[1].max() == 0


def test_without_any_evidence_the_range_is_not_empty_and_nothing_is_shown() -> None:
    explained = explain(Linear(classes=1).eval(), torch.randn(1, 1, 16, 16), targets=1)
    against = replace(explained, evidence=-explained.evidence.abs())
    assert against.display_range(0)[1] == pytest.approx(float(explained.evidence.abs().max()))
    assert against.display().max() == 0


def test_record_survives_storage() -> None:
    explained, _ = volume()
    record = explained.sample(0, 1, name="nodule")
    arrays: dict[str, np.ndarray] = {}
    back = Explanation.from_dict(record.to_dict(arrays), arrays)
    assert (back.target, back.method, back.layer, back.unit, back.signed) == ("nodule", "gradcam", "act", "logit", True)
    assert back.grid == explained.grid
    np.testing.assert_array_equal(back.evidence, explained.evidence[0, 1].numpy())


def test_samples_on_different_grids_have_no_common_one() -> None:
    grids = [Grid.plane((16, 16)), Grid.plane((16, 16), spacing=(2.0, 2.0))]
    explained = explain(Linear().eval(), torch.randn(2, 1, 16, 16), grids=grids)
    assert [grid.spacing for grid in explained.grids] == [(4.0, 4.0), (8.0, 8.0)]
    with pytest.raises(UsageError):
        _ = explained.grid


def test_show_and_repr() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    explained, _ = volume()
    explained.show(target=1)
    assert "gradcam at act" in repr(explained)
    mpl.pyplot.close("all")
