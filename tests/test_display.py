import io

import numpy as np
import pytest
from PIL import Image

from medcam import display


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (64, 48), (64, 48, 3), (1, 3, 3)])
def test_a_png_read_by_pillow_is_the_picture(shape) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for values in (picture, picture[::-1, ::-1]):
        with Image.open(io.BytesIO(display.png(values))) as image:
            image.verify()  # check sums
        with Image.open(io.BytesIO(display.png(values))) as image:
            assert (image.format, image.mode) == ("PNG", "L" if picture.ndim == 2 else "RGB")
            np.testing.assert_array_equal(np.asarray(image), values)


def test_a_smooth_picture_becomes_small() -> None:
    ramp = np.add.outer(np.arange(512), np.arange(512)).astype(np.uint8)
    assert len(display.png(ramp)) < ramp.size / 20
