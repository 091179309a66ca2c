"""Layer-wise Relevance Propagation (Bach et al. 2015)."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from medcam.errors import UsageError
from medcam.explainers._input_gradient import input_gradient, own
from medcam.explainers._relevance import positive, shared
from medcam.explainers.base import InputMethod, Located, View

Composite = Literal["epsilon-plus", "epsilon"]
LINEAR = (functional.linear,)
CONVOLUTION = (functional.conv1d, functional.conv2d, functional.conv3d)
NORMALISATION = (functional.batch_norm, torch.batch_norm)
GATE = (functional.silu, functional.gelu, functional.hardswish)
ABSORBED = 0.05
"""Share of the score above which it is told how much biases took."""


class LRP(InputMethod):
    """Relevance handed down from the score to the pixels, layer by layer.

    A network with other local rules is an ordinary network whose gradient times input is the relevance, so a layer may
    be a module or a function, used once or often, and residual sums share by themselves. Batch normalisation is taken
    as the scaling that it is. Biases take their part of the score; how much is told. (captum has no rules for volumes
    and refuses networks with layers it does not know.) For attention there is no rule here.
    LRP is said to be patented; its authors allow personal and scientific use.

    Args:
        composite: "epsilon-plus", the z+ rule for convolutions and the epsilon rule for the rest, linear layers and
            1x1 convolutions (Kohlbrenner et al. 2020, arXiv 1910.09840); or "epsilon" everywhere, which in ReLU
            networks is nearly gradient times input.
        epsilon: of that rule, in shares of the layer's mean size.

    Raises:
        UsageError: "bad-setting".

    Source: Bach et al., On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation, PLOS ONE 2015, doi 10.1371/journal.pone.0130140, equations 58 to 61.
    """

    name = "lrp"
    paper = "Bach et al. 2015, doi 10.1371/journal.pone.0130140"
    unit = "logit"
    signed = True
    family = "input gradient"
    forwards = 2  # one of them with three times the convolutions

    def __init__(self, composite: Composite = "epsilon-plus", epsilon: float = 1e-6) -> None:
        if composite not in get_args(Composite) or epsilon <= 0:
            raise UsageError("bad-setting", f"LRP knows {' and '.join(get_args(Composite))}, with epsilon > 0.")
        self.composite, self.epsilon = composite, epsilon

    def located(self, view: View) -> Located:
        located = super().located(view)
        kept, scores = located.evidence.flatten(2).sum(2), view.scalars.detach()
        absorbed = float(((scores - kept).abs() / scores.abs().clamp(min=1e-6)).max())
        if absorbed <= ABSORBED:
            return located
        said = f"biases take or give up to {100 * absorbed:.0f} % of the score"
        return Located(located.evidence, located.alignment, (said,))

    def maps(self, view: View) -> Tensor:
        """sum_c of the relevance of each pixel."""
        x = view.capture.x
        with _Rules(self.composite == "epsilon-plus", self.epsilon):
            found = [
                (input_gradient(view, x, own(view), target) * x).float().sum(dim=1)
                for target in range(view.scalars.shape[1])
            ]
        return torch.stack(found, dim=1)


class _Rules(TorchFunctionMode):
    """Within, layers give what they always give, and back what their rule says."""

    def __init__(self, plus: bool, epsilon: float) -> None:
        super().__init__()
        self.plus, self.epsilon = plus, epsilon

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in CONVOLUTION and self.plus and args[1][0, 0].numel() > 1:
            return shared(positive(func, *args, **kwargs), out, self.epsilon)
        if func in (*LINEAR, *CONVOLUTION, *NORMALISATION):
            return shared(out, out, self.epsilon)
        if func in GATE:
            return shared(args[0], out, self.epsilon)
        return out
