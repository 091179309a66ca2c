"""What each layer adds whatever comes in: biases, and what a batch norm's shift amounts to."""

import torch
from torch import Tensor, nn

LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def bias_of(module: nn.Module) -> Tensor | None:
    """(channels,): of a layer; of a batch norm in evaluation beta - gamma mean / sqrt(variance + epsilon); else None.

    A layer norm or group norm has more that is not linear: of those this is beta alone.
    """
    bias = getattr(module, "bias", None)
    if not isinstance(module, LAYERS):
        return None
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
        assert module.running_var is not None
        mean, variance = module.running_mean.float(), module.running_var.float()
        scale = torch.rsqrt(variance + module.eps)
        scale = scale if module.weight is None else scale * module.weight.detach().float()
        return -scale * mean + (0 if bias is None else bias.detach().float())
    return bias.detach().float() if isinstance(bias, Tensor) and bias.ndim == 1 else None


def beside(bias: Tensor, output: Tensor, module: nn.Module) -> Tensor:
    """A layer's bias shaped to be multiplied with its output: channels are the last dimension of linear layers."""
    if isinstance(module, nn.Linear | nn.LayerNorm):
        return bias
    return bias.reshape(-1, *[1] * (output.ndim - 2))
