"""Smooth Grad-CAM++ (Omeiza et al. 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers.base import LayerMethod, View


@dataclass
class _Moments:
    """Means over the noisy copies of the gradient, its square and its cube: (rows, C, *s) each."""

    first: Tensor
    second: Tensor
    third: Tensor


class SmoothGradCAMPlusPlus(LayerMethod):
    """Grad-CAM++ with the derivatives averaged over noisy copies of the image, of some channels and cells if wanted.

    The paper's numerator is the mean first derivative, which does not fit its denominator; as in Grad-CAM++ it is the
    second here, so that one copy without noise gives Grad-CAM++ exactly. (torch-cam takes the second too, but combines
    with the last noisy copy alone.) Activations are those of the image itself.

    Args:
        copies: noisy copies of the image.
        noise: standard deviation of the noise in shares of each image's own range.
        channels: only these feature maps; or, as a number, only so many with the greatest weight.
        cells: (*s) of 0 and 1: only these neurons of each feature map.
        seed: of the noise, the same for every image.

    Raises:
        UsageError: "bad-setting".

    Source: Omeiza et al., Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep
    Convolutional Neural Network Models, arXiv 1908.01224, equations 7 to 9.
    """

    name = "smooth_gradcam_plus_plus"
    paper = "Omeiza et al. 2019, arXiv 1908.01224"
    unit = "arbitrary"
    signed = False
    scales = False
    replays = False
    forwards, tail_backwards = 9, 8

    def __init__(
        self,
        copies: int = 8,
        noise: float = 0.15,
        channels: int | Sequence[int] | None = None,
        cells: npt.ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        if copies < 1 or noise < 0 or channels in (0, []):
            raise UsageError("bad-setting", "Smooth Grad-CAM++ needs a copy at least, noise >= 0 and some channels.")
        self.copies, self.noise, self.channels, self.cells, self.seed = copies, noise, channels, cells, seed
        self.forwards, self.tail_backwards = copies + 1, copies

    def maps(self, view: View) -> Tensor:
        """ReLU(sum_k w_k A_k), w_k = sum_p D2 / (2 D2 + D3 sum_q A_q) ReLU(D1)."""
        activation = view.activation
        if self.cells is not None:
            activation = activation * self._cells(activation)
        return torch.stack([self._map(activation, moments) for moments in self._moments(view)], dim=1)

    def _map(self, activation: Tensor, moments: _Moments) -> Tensor:
        axes = tuple(range(2, activation.ndim))
        total = activation.sum(dim=axes, keepdim=True)  # (rows, C, 1, ...)
        denominator = 2 + total * torch.where(moments.second > 0, moments.third / moments.second, 0)
        alpha = torch.where(denominator > 1e-6, 1 / denominator, 0)
        slopes = moments.first.clamp(min=0)
        if self.cells is not None:
            slopes = slopes * self._cells(activation)
        weight = (alpha * slopes).sum(dim=axes, keepdim=True).float()
        return (self._kept(weight) * activation).sum(dim=1).clamp(min=0)

    def _moments(self, view: View) -> Iterator[_Moments]:
        """For each target; in double precision, where the cube of a small gradient is not lost."""
        x = view.capture.x
        spread = x.flatten(1).amax(1) - x.flatten(1).amin(1)  # (B,)
        size = (self.noise * spread).reshape(-1, *[1] * (x.ndim - 1))
        generator = torch.Generator().manual_seed(self.seed)
        samples = torch.arange(len(x), device=x.device)
        sums: list[list[Tensor]] = []
        for copy in range(self.copies):
            noise = torch.randn(x.shape[1:], generator=generator).to(x)  # one for all: a row is as it is alone
            noisy = view.again(x + size * noise, samples)
            for target in range(view.scalars.shape[1]):
                gradient = noisy.gradient(target).double()
                powers = [gradient, gradient**2, gradient**3]
                if copy == 0:
                    sums.append(powers)
                else:
                    sums[target] = [old + new for old, new in zip(sums[target], powers, strict=True)]
            view.tick(copy + 1, self.copies)
        for powers in sums:
            yield _Moments(*(power / self.copies for power in powers))

    def _kept(self, weight: Tensor) -> Tensor:
        """The weights (rows, C, 1, ...) of the channels that are asked for."""
        if self.channels is None:
            return weight
        count = weight.shape[1]
        if isinstance(self.channels, int):
            chosen = weight.flatten(1).topk(min(self.channels, count), dim=1).indices
        elif all(-count <= channel < count for channel in self.channels):
            chosen = torch.tensor(list(self.channels), device=weight.device).remainder(count).expand(len(weight), -1)
        else:
            raise UsageError("bad-setting", f"Channels lie in 0 to {count - 1} at this layer, not {self.channels}.")
        return weight * torch.zeros_like(weight.flatten(1)).scatter_(1, chosen, 1).reshape(weight.shape)

    def _cells(self, activation: Tensor) -> Tensor:
        cells = torch.from_numpy(np.asarray(self.cells, dtype=np.float32)).to(activation.device)
        if cells.shape != activation.shape[2:]:
            shapes = f"{tuple(activation.shape[2:])}, not {tuple(cells.shape)}"
            raise UsageError("bad-setting", f"The mask of cells has the layer's own shape {shapes}.")
        return cells
