"""What slow references start from: activation and gradient of one image on the graph of the whole network."""

import torch
from torch import Tensor, nn


def seen(model: nn.Module, layer: str, image: Tensor, target: int, call: int = -1) -> tuple[Tensor, Tensor]:
    """(C, *s) twice: what a layer gives for an image (1, C, *space), and the gradient of one logit there."""
    outputs: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, a, output: outputs.append(output))
    score = model(image.clone().requires_grad_())[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, outputs[call])
    return outputs[call][0].detach(), gradient[0]
