"""Small networks with and without dropout."""

import torch
from torch import Tensor, nn


class Dropping(nn.Module):
    """Dropout of channels in the trunk and of elements in the head."""

    def __init__(self, rate: float = 0.3, trunk_rate: float = 0.3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.trunk_drop = nn.Dropout2d(trunk_rate)
        self.body = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head_drop = nn.Dropout(rate)
        self.fc = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.body(self.trunk_drop(torch.relu(self.stem(x))))))
        return self.fc(self.head_drop(x.mean((2, 3))))
