"""Smooth Grad-CAM++ against the formula copy by copy, against Grad-CAM++ without noise, and its subsets."""

import pytest
import torch

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.smooth_gradcam_plus_plus import SmoothGradCAMPlusPlus
from tests.explainers.nets import Flat
from tests.explainers.slow import seen

MODEL = Flat().eval()


def image(count: int = 1) -> torch.Tensor:
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(5))


def test_one_copy_without_noise_is_gradcam_plus_plus() -> None:
    x = image(2)
    smooth = explain(MODEL, x, SmoothGradCAMPlusPlus(copies=1, noise=0), targets="all", layer="conv").evidence
    plain = explain(MODEL, x, "gradcam_plus_plus", targets="all", layer="conv").evidence
    torch.testing.assert_close(smooth, plain, rtol=1e-5, atol=1e-8)


def by_the_paper(
    x: torch.Tensor, target: int, copies: int, noise: float, channels=range(5), cells=None
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    size = noise * (x.max() - x.min())
    gradients = [
        seen(MODEL, "conv", x + size * torch.randn(x.shape[1:], generator=generator), target)[1].double()
        for _ in range(copies)
    ]
    first, second, third = (sum(g**power for g in gradients) / copies for power in (1, 2, 3))
    activation = seen(MODEL, "conv", x, target)[0].double()
    if cells is not None:
        activation, first = activation * cells, first * cells
    total = torch.zeros(activation.shape[1:], dtype=torch.float64)
    for k in channels:
        alpha = second[k] / (2 * second[k] + activation[k].sum() * third[k])
        alpha = torch.where(2 + activation[k].sum() * third[k] / second[k] > 1e-6, alpha, 0)
        total += (alpha * first[k].clamp(min=0)).sum() * activation[k]
    return total.clamp(min=0).float()


@pytest.mark.parametrize("target", [0, 2])
def test_equals_the_formula_copy_by_copy(target: int) -> None:
    x = image()
    ours = explain(MODEL, x, SmoothGradCAMPlusPlus(copies=5, noise=0.1, seed=3), targets=target, layer="conv").evidence[
        0, 0
    ]
    torch.testing.assert_close(ours, by_the_paper(x, target, 5, 0.1), rtol=1e-4, atol=1e-7)


def test_subset_of_feature_maps_and_of_neurons() -> None:
    x = image()
    cells = torch.zeros(8, 8)
    cells[2:6, 3:7] = 1
    some = SmoothGradCAMPlusPlus(copies=2, noise=0.1, channels=[0, -1], cells=cells.numpy(), seed=3)
    ours = explain(MODEL, x, some, targets=1, layer="conv").evidence[0, 0]
    torch.testing.assert_close(ours, by_the_paper(x, 1, 2, 0.1, (0, 4), cells), rtol=1e-4, atol=1e-7)
    assert ours[cells == 0].abs().max() == 0
    everything = explain(MODEL, x, SmoothGradCAMPlusPlus(copies=2, channels=99), targets=1, layer="conv").evidence
    torch.testing.assert_close(
        everything, explain(MODEL, x, SmoothGradCAMPlusPlus(copies=2), targets=1, layer="conv").evidence
    )


def test_a_row_is_as_it_is_alone_and_a_seed_repeats() -> None:
    x = image(3)
    method = SmoothGradCAMPlusPlus(copies=3)
    together = explain(MODEL, x, method, targets=0, layer="conv").evidence
    alone = explain(MODEL, x[1:2], method, targets=0, layer="conv").evidence
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-7)
    assert torch.equal(together, explain(MODEL, x, method, targets=0, layer="conv").evidence)
    other = explain(MODEL, x, SmoothGradCAMPlusPlus(copies=3, seed=1), targets=0, layer="conv").evidence
    assert not torch.allclose(together, other)


def test_progress_is_told() -> None:
    said: list[tuple[int, int]] = []
    explain(
        MODEL,
        image(),
        SmoothGradCAMPlusPlus(copies=3),
        targets=0,
        layer="conv",
        progress=lambda done, total: said.append((done, total)),
    )
    assert said == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "settings", [{"copies": 0}, {"noise": -1}, {"channels": [5]}, {"channels": 0}, {"cells": [[1.0]]}]
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        explain(MODEL, image(), SmoothGradCAMPlusPlus(**settings), targets=0, layer="conv")  # type: ignore[arg-type]
