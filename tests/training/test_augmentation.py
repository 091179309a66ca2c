import math

import pytest
import torch

from medcam.training._augmentation import Changes, augment, augment_images


@pytest.mark.parametrize("shape", [(40, 60), (16, 40, 60)])
def test_the_mask_moves_with_the_picture(shape: tuple[int, ...]) -> None:
    images = torch.zeros(12, 1, *shape)
    spot = tuple(slice(n // 3, n // 3 + 6) for n in shape)
    images[(slice(None), slice(None), *spot)] = 0.8
    masks = (images > 0).float()
    moved, mask = augment(images, masks, tuple(range(len(shape))), torch.Generator().manual_seed(0))
    where = []
    for image, own in zip(moved[:, 0], mask[:, 0], strict=True):
        bright = (image > 0.45).float()
        overlap = (bright * (own > 0.5)).sum() / torch.maximum(bright, (own > 0.5).float()).sum()
        assert overlap > 0.6
        where.append(torch.nonzero(own > 0.5).float().mean(0))
    assert torch.stack(where).std(0).min() > 0.3  # it did move, along every axis


def test_a_turned_square_stays_square_in_an_oblong_picture() -> None:
    images = torch.zeros(30, 1, 40, 120)
    images[..., 10:30, 50:70] = 0.8
    moved, _ = augment(images, images, (), torch.Generator().manual_seed(1))
    areas = (moved > 0.45).sum((1, 2, 3)) / 400
    assert areas.min() > 0.75  # zoom 10 % each way, not more
    assert areas.max() < 1.3


def test_without_flips_nothing_is_mirrored_and_values_stay_in_range() -> None:
    images = torch.zeros(20, 1, 40, 40)
    images[..., :, 25:] = 0.9
    moved, _ = augment(images, images, (), torch.Generator().manual_seed(2))
    assert (moved[..., -5:].mean((1, 2, 3)) > moved[..., :5].mean((1, 2, 3)) + 0.5).all()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_a_picture_that_is_not_moved_keeps_its_grid_and_may_be_mirrored() -> None:
    masks = (torch.rand(40, 1, 6, 8, 10, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    _, kept = augment(masks, masks, (2,), torch.Generator().manual_seed(1), moved=0.0)
    as_it_was, mirrored = ((kept - other).abs().amax((1, 2, 3, 4)) < 1e-4 for other in (masks, masks.flip(-1)))
    assert (as_it_was ^ mirrored).all()
    assert 8 < as_it_was.sum() < 32
    _, some = augment(masks, masks, (), torch.Generator().manual_seed(1), moved=0.3)
    assert 3 < ((some - masks).abs().amax((1, 2, 3, 4)) > 0.1).sum() < 22


def test_a_protocol_s_changes_move_images_as_far_as_it_says_and_nothing_else() -> None:
    """A bright spot right of the middle, shifted, turned and mirrored; its brightness stays and the border repeats."""
    changes = Changes(shift=0.1, zoom=0.0, turn=math.radians(10), gain=0.0, offset=0.0, noise=0.0)
    images = torch.full((400, 1, 100, 100), 0.25)
    images[:, :, 49:51, 89:91] = 1.0  # 40 pixels from the centre
    moved = augment_images(images, (0, 1), torch.Generator().manual_seed(0), changes=changes)
    spot = (moved - 0.25).clamp(min=0)[:, 0]
    places = torch.arange(100) - 49.5
    mass = spot.sum((1, 2))
    seen = mass > 2.9  # of 3: not shifted out of the picture
    row, column = (spot[seen].sum(axis) @ places / mass[seen] for axis in (2, 1))
    # from (dy, 40 + dx), |dy|, |dx| <= 10, turned by up to t about the centre
    sine, cosine = math.sin(math.radians(10)), math.cos(math.radians(10))
    assert 12 < row.abs().max() <= 10 * cosine + 50 * sine + 0.1  # further than shifting or turning alone goes
    assert (column.abs() - 40).abs().max() <= 40 - (30 * cosine - 10 * sine) + 0.1
    assert 0.3 < (column < 0).float().mean() < 0.7  # mirrored left to right, about half of them
    assert moved.min() == pytest.approx(0.25)
    assert mass[seen] == pytest.approx(3.0, abs=0.1)  # neither zoomed nor brighter


def test_mirroring_upside_down_is_an_axis_of_its_own() -> None:
    images = torch.zeros(64, 1, 8, 8)
    images[:, :, :2] = 1.0
    still = Changes(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    turned = augment_images(images, (0,), torch.Generator().manual_seed(0), changes=still)
    below = turned[:, 0, -1, 0] > 0.5
    assert 10 < int(below.sum()) < 54
    assert torch.allclose(turned[below].flip(2), images[below], atol=1e-5)
    assert torch.allclose(turned[~below], images[~below], atol=1e-5)
    assert torch.allclose(
        augment_images(images, (1,), torch.Generator().manual_seed(0), changes=still), images, atol=1e-5
    )
