"""Integrated Gradients (Sundararajan et al. 2017), computed by captum."""

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._input_gradient import own
from medcam.explainers.base import InputMethod, Located, View

GAP = 0.05
"""Share of the change in score above which the missing part is told."""


class IntegratedGradients(InputMethod):
    """What each pixel adds to the score on the straight way from a baseline to the image.

    The cells add up to the score less the baseline's; what is missing for want of steps is told where it is more than
    5 %. The answer is one about the baseline as much as about the image: choose one that shows nothing (air, glass).

    Args:
        baseline: one value, or an image (C, *space) that shows nothing.
        steps: of the integral, by Gauss and Legendre.

    Raises:
        UsageError: "bad-setting".

    Source: Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017, arXiv 1703.01365.
    """

    name = "integrated_gradients"
    paper = "Sundararajan et al. 2017, arXiv 1703.01365"
    unit = "logit"
    signed = True
    family = "input gradient"
    forwards, tail_backwards = 52, 50

    def __init__(self, baseline: float | Tensor = 0.0, steps: int = 50) -> None:
        if steps < 2:
            raise UsageError("bad-setting", "Integrated Gradients needs two steps at least.")
        self.baseline, self.steps = baseline, steps
        self.forwards, self.tail_backwards = steps + 2, steps  # the captured one, the baseline

    def located(self, view: View) -> Located:
        located = super().located(view)
        start = view.scores(self._start(view.capture.x), own(view))
        wanted = view.scalars.detach() - start  # (B, K)
        found = located.evidence.flatten(2).sum(2)
        missing = float(((found - wanted).abs() / wanted.abs().clamp(min=1e-6)).max())
        if missing <= GAP:
            return located
        said = f"the cells miss the change in score by up to {100 * missing:.0f} %: take more steps"
        return Located(located.evidence, located.alignment, (said,))

    def maps(self, view: View) -> Tensor:
        """sum_c (x - x0) integral of dy / dx along the way."""
        from captum.attr import IntegratedGradients as Captum

        x = view.capture.x
        found = []
        for target in range(view.scalars.shape[1]):

            def score(inputs: Tensor, samples: Tensor, target: int = target) -> Tensor:
                return view.targets.of(view.capture.model(inputs), samples)[:, target]

            attribution = Captum(score).attribute(
                x,
                self._start(x),
                additional_forward_args=(own(view),),
                n_steps=self.steps,
                method="gausslegendre",
                internal_batch_size=max(view.budget, len(x)),
            )
            found.append(attribution.float().sum(dim=1))
            view.tick(target + 1, view.scalars.shape[1])
        return torch.stack(found, dim=1)

    def _start(self, x: Tensor) -> Tensor:
        if not isinstance(self.baseline, Tensor):
            return torch.full_like(x, self.baseline)
        if self.baseline.shape != x.shape[1:]:
            shapes = f"{tuple(x.shape[1:])}, not {tuple(self.baseline.shape)}"
            raise UsageError("bad-setting", f"A baseline is a number or an image of shape {shapes}.")
        return self.baseline.to(x).expand_as(x).clone()
