import math

import pytest
import torch
from torch import nn

from medcam.training._map_loss import Tap, cells, map_loss


def test_a_cell_s_share_is_taken_around_its_centre() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 16, 24] = 1  # the centre of cell (2, 3) at stride 8
    share = cells(mask, (4, 4))
    assert share.shape == (1, 1, 4, 4)
    assert torch.nonzero(share[0, 0]).tolist() == [[2, 3]]
    mask = torch.zeros(1, 1, 8, 32, 32)
    mask[..., 4, 16, 24] = 1
    assert torch.nonzero(cells(mask, (4, 4, 4))[0, 0]).tolist() == [[2, 2, 3]]


def test_the_loss_is_the_closed_form_of_one_cell() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:13, 4:13] = 1  # all of cell (1, 1) of 2 x 2
    evidence = torch.tensor([[[[-3.0, -3.0], [-3.0, 1.5]]]])
    p, q = 1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(3))
    share = cells(mask, (2, 2))[0, 0]
    outside = int((share < 0.02).sum())
    missed, false = (1 - p) ** 2 * -math.log(p), outside * q**2 * -math.log(1 - q)
    assert share[1, 1] == 1
    assert map_loss(evidence, mask).item() == pytest.approx(missed + 0.25 * false, rel=1e-5)
    assert map_loss(evidence, mask, false_alarm=1.0).item() == pytest.approx(missed + false, rel=1e-5)


def test_a_lesion_smaller_than_a_cell_still_has_its_cell() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 17, 24] = 1
    at = torch.full((1, 1, 8, 8), -9.0)
    beside = at.clone()
    at[..., 2, 3], beside[..., 2, 4] = 9.0, 9.0
    assert map_loss(at, mask) < 1e-3
    assert map_loss(beside, mask) > 10


def test_the_tap_keeps_the_latest_output() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    tap = Tap(network[0])
    network(torch.ones(1, 2))
    last = network[0](torch.zeros(1, 2))
    torch.testing.assert_close(tap.output, last)
