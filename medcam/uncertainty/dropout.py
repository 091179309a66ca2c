"""Monte-Carlo dropout (Gal and Ghahramani 2016), replaying only the tail behind the first dropout."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers import Explained
from medcam.explainers._capture import Capture, Tap
from medcam.explainers._session import undisturbed, unwrapped
from medcam.explainers._squash import unsquashed
from medcam.explainers._trace import Call, trace
from medcam.explainers.base import View
from medcam.uncertainty.base import Disturbance, Member, whole_output

ELEMENTS = (nn.Dropout,)
CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""These drop whole channels."""


AT_ONCE = 2**22
"""Numbers at the cut that are replayed together: many passes of a small tail at once, else one after another."""


class Dropout(Disturbance):
    """Dropout stays on: each pass is one thinned network, the same one for all samples of a batch.

    In a network that was trained without dropout this is noise, no posterior. Batch normalisation stays as trained.
    """

    name = "dropout"
    networks = True

    def members(self, model: nn.Module, explained: Explained, target: int, seed: int) -> Iterator[Member]:
        """One forward pass up to the first dropout or the explained layer, then `passes` tails.

        Raises:
            ExplainError: the model has no dropout that is in use, or the method needs more than a tail.
        """
        if not explained.by.replays:
            name = explained.by.name
            message = f"{name} needs the whole network, no tail of which can be replayed; choose augmentation."
            raise ExplainError("no-dropout", message)
        x, model = explained.images, unwrapped(model)
        calls, layer = dropouts(model, x), explained.tap
        first = Tap(calls[0].module, calls[0].index, "input")
        seeds = [seed * 1_000_003 + number for number in range(self.passes)]
        with undisturbed(model, x.device), ExitStack() as stack:
            if explained.targets.own is None:
                stack.enter_context(unsquashed(model, trace(model, x)))  # as it was explained
            capture = Capture(model, x, [first, layer])
            capture.check()  # while nothing is dropped
            activation = capture.activation(capture.cut)
            sorted_by_pass = capture.batch_first and all(call.batch_first for call in calls)
            together = max(1, AT_ONCE // activation.numel()) if sorted_by_pass else 1
            for start in range(0, len(seeds), together):
                several = seeds[start : start + together]
                with dropping(model, several):
                    again = capture.replay(activation.repeat(len(several), *[1] * (activation.ndim - 1)), [layer])
                    logits, evidence = _explained(again, explained, target, len(several))
                output = whole_output(again.output)
                outputs = [None] * len(several) if output is None else output.chunk(len(several))
                for number, (row, maps, whole) in enumerate(zip(logits, evidence, outputs, strict=True), start + 1):
                    yield Member(f"pass {number}", row, maps, explained.grids, explained.input_grids, whole)


def _explained(again: Capture, explained: Explained, target: int, passes: int) -> tuple[Tensor, npt.NDArray[Any]]:
    """Scalars (passes, B) and evidence (passes, B, *grid) of a replay for the target that was explained before."""
    batch = len(explained.images)
    scalars = explained.targets.of(again.output, torch.arange(batch).repeat(passes))[:, target : target + 1]
    targets = replace(explained.targets, scalars=scalars)
    traced = trace(again.model, explained.images)
    view = View(again, explained.tap, targets, explained.arrangement, explained.alignment, traced)
    evidence = explained.by.located(view).evidence.detach().float().cpu().numpy()
    return scalars.detach().reshape(passes, batch), evidence.reshape(passes, batch, *evidence.shape[2:])


def dropouts(model: nn.Module, x: Tensor) -> list[Call]:
    """The calls of dropout in a forward pass, first to last.

    Raises:
        ExplainError: there is none with a rate above zero.
    """
    active = {name for name, module in model.named_modules() if _rate(module) > 0}
    calls = sorted((call for call in trace(model, x).calls if call.module in active), key=lambda call: call.began)
    if not calls:
        raise ExplainError(
            "no-dropout", "The model has no dropout that is in use; choose another uncertainty, such as augmentation."
        )
    return calls


def _rate(module: nn.Module) -> float:
    return float(module.p) if isinstance(module, (*ELEMENTS, *CHANNELS)) else 0.0


@contextmanager
def dropping(model: nn.Module, seeds: Sequence[int]) -> Iterator[None]:
    """Within, every dropout drops by masks of its own, whatever the random state.

    The rows that a dropout sees are as many equal parts as there are seeds; each part has one mask for all its rows.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]  # on the CPU: the same on every device

    def hook(module: nn.Module, args: object, output: Tensor) -> Tensor:
        rate = _rate(module)
        shape = output.shape[1:]
        if isinstance(module, CHANNELS):
            shape = torch.Size((output.shape[1], *[1] * (output.ndim - 2)))
        kept = torch.stack([torch.rand(shape, generator=generator) >= rate for generator in generators])
        scale = kept.to(output) / max(1 - rate, 1e-12)  # (seeds, *shape)
        return (output.reshape(len(seeds), -1, *output.shape[1:]) * scale[:, None]).reshape(output.shape)

    with ExitStack() as hooks:
        for module in model.modules():
            if _rate(module) > 0:
                hooks.callback(module.register_forward_hook(hook, prepend=True).remove)
        yield
