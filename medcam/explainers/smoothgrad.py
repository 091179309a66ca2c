"""SmoothGrad (Smilkov et al. 2017)."""

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._input_gradient import input_gradient, own, strongest
from medcam.explainers.base import InputMethod, View


class SmoothGrad(InputMethod):
    """The gradient of the input, averaged over noisy copies of the image: sensitivity that holds nearby.

    As in the paper gradients are averaged with their sign. (MONAI by default averages squares, which noise alone makes
    large.)

    Args:
        copies: noisy copies of the image.
        noise: standard deviation of the noise in shares of each image's own range.
        seed: of the noise, the same for every image.

    Raises:
        UsageError: "bad-setting".

    Source: Smilkov et al., SmoothGrad: removing noise by adding noise, 2017, arXiv 1706.03825.
    """

    name = "smoothgrad"
    paper = "Smilkov et al. 2017, arXiv 1706.03825"
    unit = "arbitrary"
    signed = False
    family = "input gradient"
    forwards, tail_backwards = 26, 25

    def __init__(self, copies: int = 25, noise: float = 0.15, seed: int = 0) -> None:
        if copies < 1 or noise < 0:
            raise UsageError("bad-setting", "SmoothGrad needs one noisy copy at least, and noise >= 0.")
        self.copies, self.noise, self.seed = copies, noise, seed
        self.forwards, self.tail_backwards = copies + 1, copies

    def maps(self, view: View) -> Tensor:
        """max_c |mean over copies of dy / dx_c|."""
        x, targets = view.capture.x, range(view.scalars.shape[1])
        size = self.noise * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).reshape(-1, *[1] * (x.ndim - 1))
        generator = torch.Generator().manual_seed(self.seed)
        totals = [torch.zeros_like(x, dtype=torch.float32) for _ in targets]
        for copy in range(self.copies):
            noisy = x + size * torch.randn(x.shape[1:], generator=generator).to(x)
            for target in targets:
                totals[target] += input_gradient(view, noisy, own(view), target)
            view.tick(copy + 1, self.copies)
        return torch.stack([strongest(total / self.copies) for total in totals], dim=1)
