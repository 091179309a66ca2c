"""What the tail of a network makes of noise at a layer: facts about the network, whatever the image."""

import torch
from torch import Tensor, nn

from medcam.explainers._replay import ReplayError, Script, replaying
from medcam.explainers._session import first_tensor, undisturbed
from medcam.explainers._trace import Call, Trace


def slope(model: nn.Module, trace: Trace, call: Call) -> tuple[Tensor, Tensor] | None:
    """Noise in the place of what a call gives, for one sample, and the gradient of the output (any mix of it) there.

    Only the tail behind the call is run. None where it cannot run alone, because values pass the call on another way.
    """
    like = first_tensor(call.blank)
    if like is None:
        return None
    generator = torch.Generator().manual_seed(0)
    shape = (call.shape[0] // trace.batch, *call.shape[1:])
    noise = torch.randn(shape, generator=generator).to(like).requires_grad_()
    blank = like.new_full((), torch.nan).expand(1, *trace.input_shape[1:])
    with undisturbed(model, like.device):
        try:
            with replaying(model, Script.of(trace, call.module, call.index), noise, False, 1):
                output = first_tensor(model(blank))
        except (ReplayError, RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            return None
        if output is None or not output.requires_grad or not bool(torch.isfinite(output).all()):
            return None
        weights = torch.randn(output.shape, generator=generator).to(output)
        (gradient,) = torch.autograd.grad((output * weights).sum(), noise)
    return noise.detach(), gradient
