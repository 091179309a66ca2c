"""Small networks of plain torch whose answers can be worked out by hand."""

import torch
from torch import Tensor, nn

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Linear(nn.Module):
    """conv - ReLU - conv - ReLU - global mean - linear: cells of Grad-CAM add up to the logit less its bias."""

    def __init__(self, axes: int = 2, classes: int = 3, seed: int = 0, inplace: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        convolution = CONVOLUTION[axes]
        self.stem = convolution(1, 4, 3, stride=2, padding=1)
        self.body = convolution(4, 6, 3, stride=2, padding=1)
        self.act = nn.ReLU(inplace=inplace)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.body(torch.relu(self.stem(x))))
        return self.fc(x.flatten(2).mean(2))


class Flat(nn.Module):
    """A flattening head with two layers, where the gradient differs from cell to cell."""

    def __init__(self, axes: int = 2, size: int = 16, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = CONVOLUTION[axes](1, 5, 3, stride=2, padding=1)
        self.hidden = nn.Linear(5 * (size // 2) ** axes, 12)
        self.fc = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.hidden(torch.relu(self.conv(x)).flatten(1))))


class Twice(nn.Module):
    """One convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.conv(x))
        second = torch.relu(self.conv(first))
        return self.fc((second + 0.5 * first).mean((2, 3)))


class Skip(nn.Module):
    """A value passes the layer `low` on another way."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.high = nn.Conv2d(1, 4, 3, padding=1)
        self.low = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        high = torch.relu(self.high(x))
        low = torch.relu(self.low(high))
        return self.fc(torch.cat([high.mean((2, 3)), low.mean((2, 3))], dim=1))


class FrameWise(nn.Module):
    """Frames are folded into the batch, their logits averaged over time."""

    def __init__(self, image: nn.Module) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: Tensor) -> Tensor:
        batch, time = x.shape[0], x.shape[2]
        frames = x.transpose(1, 2).reshape(batch * time, x.shape[1], *x.shape[3:])
        return self.image(frames).reshape(batch, time, -1).mean(1)


def state(model: nn.Module) -> list[object]:
    """All that an explanation may not change."""
    facts: list[object] = [torch.get_rng_state().tolist()]
    for name, module in model.named_modules():
        hooks = (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        facts.append((name, module.training, hooks, sorted(vars(module))))
    for name, parameter in model.named_parameters():
        grad = None if parameter.grad is None else parameter.grad.sum().item()
        facts.append((name, parameter.requires_grad, grad, parameter.sum().item()))
    return facts
