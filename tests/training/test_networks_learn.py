"""Networks that no protocol trains learn too: a few steps of the focal loss tell bright squares from none."""

import pytest
import torch

from medcam.models._network import build
from medcam.models._presets import preset
from medcam.training.losses import FocalLoss

SIZE, STEPS = 32, 10


NETWORKS = (
    ("resnet50", 2, 3e-4),
    ("mobilenet_v2", 2, 3e-4),
    ("mobilenet_v3_large", 2, 3e-4),
    ("vit_b_16", 2, 2e-5),
    ("resnet18", 3, 3e-4),
    ("mobilenet_v3_small", 3, 3e-4),
)
"""Name, axes and learning rate."""


@pytest.mark.parametrize(("name", "dimensions", "rate"), NETWORKS)
def test_the_focal_loss_goes_down(name: str, dimensions: int, rate: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.rand(8, 1, *[SIZE] * dimensions) / 2  # (8, 1, *space)
        x[::2, ..., 8:20, 8:20] += 0.5
        sick = (torch.arange(8) % 2 == 0).float()[:, None]  # (8, 1)
        network = build({"network_def": preset(name, spatial_dims=dimensions, size=SIZE)}).train()
        loss_of, optimiser = FocalLoss("single-logit", gamma=1.0), torch.optim.AdamW(network.parameters(), lr=rate)
        losses = []
        for _ in range(STEPS):
            loss = loss_of(network(x), sick)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0], losses
