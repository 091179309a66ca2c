"""Monte-Carlo dropout (Gal and Ghahramani 2016), replaying only the tail behind the first dropout."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers import Explained
from medcam.explainers._capture import Capture, Tap
from medcam.explainers._session import undisturbed, unwrapped
from medcam.explainers._targets import resolve
from medcam.explainers._trace import trace
from medcam.explainers.base import View
from medcam.uncertainty.base import Disturbance, Member

ELEMENTS = (nn.Dropout,)
CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""These drop whole channels."""


class Dropout(Disturbance):
    """Dropout stays on: each pass is one thinned network, the same one for all samples of a batch.

    In a network that was trained without dropout this is noise, no posterior. Batch normalisation stays as trained.
    """

    name = "dropout"

    def members(self, model: nn.Module, explained: Explained, target: int, seed: int) -> Iterator[Member]:
        """One forward pass up to the first dropout or the explained layer, then `passes` tails.

        Raises:
            ExplainError: the model has no dropout that is used with a rate above zero.
        """
        x = explained.images
        model = unwrapped(model)
        first = first_dropout(model, x)
        layer = explained.tap
        with undisturbed(model, x.device):
            capture = Capture(model, x, [first, layer])
            capture.check()  # while nothing is dropped
            for number in range(self.passes):
                with dropping(model, seed * 1_000_003 + number):
                    again = capture.replay(capture.activation(capture.cut), [layer])
                    targets = resolve(again.output, len(x), explained.targets.again, explained.targets.head)
                    view = View(again, layer, targets.scalars[:, target : target + 1], explained.arrangement.rows)
                    maps = explained.by.maps(view)
                evidence = explained.arrangement.evidence(maps, len(x))[:, 0].detach().float().cpu().numpy()
                scalars = targets.scalars[:, target].detach()
                yield Member(f"pass {number + 1}", scalars, evidence, explained.grids, explained.input_grids)


def first_dropout(model: nn.Module, x: Tensor) -> Tap:
    """What goes into the first dropout that the forward pass meets.

    Raises:
        ExplainError: there is none with a rate above zero.
    """
    active = {name for name, module in model.named_modules() if _rate(module) > 0}
    calls = [call for call in trace(model, x).calls if call.module in active]
    if not calls:
        raise ExplainError(
            "no-dropout", "The model has no dropout that is in use; choose another uncertainty, such as augmentation."
        )
    return Tap(calls[0].module, calls[0].index, "input")


def _rate(module: nn.Module) -> float:
    return float(module.p) if isinstance(module, (*ELEMENTS, *CHANNELS)) else 0.0


@contextmanager
def dropping(model: nn.Module, seed: int) -> Iterator[None]:
    """Within, every dropout drops by masks of its own seed, one for all rows of a batch, whatever the random state."""
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device

    def hook(module: nn.Module, args: object, output: Tensor) -> Tensor:
        rate = _rate(module)
        shape = (1, *output.shape[1:])
        if isinstance(module, CHANNELS):
            shape = (1, output.shape[1], *[1] * (output.ndim - 2))
        kept = torch.rand(shape, generator=generator) >= rate
        return output * (kept.to(output) / max(1 - rate, 1e-12))

    with ExitStack() as hooks:
        for module in model.modules():
            if _rate(module) > 0:
                hooks.callback(module.register_forward_hook(hook, prepend=True).remove)
        yield
