"""The records that hold a phantom's truth."""

import numpy as np
import pytest

from sample_data.phantom import Lesion, Phantom, stream


def test_a_lesion_is_the_box_and_the_centre_of_its_mask() -> None:
    mask = np.zeros((5, 6, 7), dtype=bool)
    mask[1:3, 2:5, 6] = True
    lesion = Lesion.of_mask("nodule", mask, 4.0)
    assert lesion.box == ((1, 2, 6), (3, 5, 7))
    assert lesion.centre == (1.5, 3.0, 6.0)


def test_an_empty_mask_is_no_lesion() -> None:
    with pytest.raises(ValueError, match="empty"):
        Lesion.of_mask("nodule", np.zeros((2, 2), dtype=bool), 1.0)


def test_label_mask_and_lesions_must_agree() -> None:
    pixels, mask = np.zeros((4, 4), np.float32), np.zeros((4, 4), dtype=bool)
    Phantom("DX", pixels, mask, 0, (1.0, 1.0), ())
    with pytest.raises(ValueError, match="disagree"):
        Phantom("DX", pixels, mask, 1, (1.0, 1.0), ())
    mask[1, 1] = True
    with pytest.raises(ValueError, match="disagree"):
        Phantom("DX", pixels, mask, 1, (1.0, 1.0), ())
    with pytest.raises(ValueError, match="does not fit"):
        Phantom("CT", np.zeros((2, 4, 4)), mask, 0, (1.0, 1.0, 1.0), ())


def test_streams_are_told_apart_by_seed_and_purpose() -> None:
    first = stream(1, "lesion").random(4)
    assert np.array_equal(first, stream(1, "lesion").random(4))
    assert not np.array_equal(first, stream(2, "lesion").random(4))
    assert not np.array_equal(first, stream(1, "noise").random(4))
