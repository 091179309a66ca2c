"""What hidden cells become, and what is asked of images of which parts are hidden."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from medcam.errors import UsageError
from medcam.explainers._masking import BLUR, check, said, without


@pytest.mark.parametrize("axes", [2, 3])
def test_the_mean_is_each_channels_own(axes: int) -> None:
    x = torch.randn(2, 3, *[6] * axes)
    nothing = without(x, "mean")
    assert nothing.shape == x.shape
    for sample in range(2):
        for channel in range(3):
            torch.testing.assert_close(
                nothing[sample, channel], torch.full([6] * axes, float(x[sample, channel].mean()))
            )


def test_a_number_is_that_number_and_sixteen_bits_are_made_whole() -> None:
    nothing = without(torch.randn(1, 2, 4, 4, dtype=torch.bfloat16), 1.25)
    assert nothing.dtype == torch.float32
    assert (nothing == 1.25).all()


@pytest.mark.parametrize("shape", [(40, 60), (12, 20, 30)])
def test_the_blur_is_scipys_where_the_outside_does_not_count(shape: tuple[int, ...]) -> None:
    x = torch.rand(1, 1, *shape, dtype=torch.float32)
    sigma = [BLUR * size for size in shape]
    more = {"mode": "constant", "truncate": 40.0}
    image = x[0, 0].double().numpy()
    expected = gaussian_filter(image, sigma, **more) / gaussian_filter(image * 0 + 1, sigma, **more)
    torch.testing.assert_close(without(x, "blur")[0, 0].double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_it_is_told() -> None:
    assert said("mean") == "hidden cells become the image's mean"
    assert said(0.5) == "hidden cells become 0.5"


@pytest.mark.parametrize("settings", [("median",), (True,), (None,), (0.0, "odds")])
def test_settings_that_cannot_be(settings: tuple[object, ...]) -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        check(*settings)
