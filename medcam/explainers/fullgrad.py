"""FullGrad (Srinivas and Fleuret 2019)."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from medcam.errors import ExplainError, UsageError
from medcam.explainers._alignment import Alignment, align, whole
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._bias import beside, bias_of
from medcam.explainers._capture import Capture, Tap
from medcam.explainers._fusion import moved
from medcam.explainers._input_gradient import own
from medcam.explainers._layout import BATCH
from medcam.explainers._trace import Call
from medcam.explainers.base import InputMethod, Located, View
from medcam.findings import Unit

Psi = Literal["abs", "rescaled", "signed"]
INPUT = Tap("", role="input")
MISSING = 1e-4
"""Share of the score from which on it is said that the terms do not add up to it."""


@dataclass
class Sums:
    """What has come together for one target."""

    maps: Tensor
    """(B, *space)."""
    terms: Tensor
    """(B,): the sum of all terms with their signs, those without a place too."""
    sizes: Tensor
    """(B,): the sum of their sizes."""

    def add(self, terms: Tensor) -> None:
        """Of some terms (B, ...) the sums."""
        self.terms += terms.flatten(1).sum(dim=1)
        self.sizes += terms.abs().flatten(1).sum(dim=1)


class FullGrad(InputMethod):
    """Every layer's biases times their gradients, and the input times its own: together they are the whole score.

    score = sum x * grad_x + sum over layers and cells of b * grad_b, exactly, for networks of convolutions, batch
    norms, ReLUs and pools. Biases of batch norms are the implicit ones, beta - gamma mean / sqrt(variance + epsilon).
    Where terms do not add up to the score (a bias that belongs to no such layer, an activation that is no ReLU,
    attention, a layer norm, a gate) a note tells what is missing. Biases of linear layers count, and have no place.

    Maps of all layers are brought to the input by each layer's exact place. There a cell stands for many input cells,
    among which its logits are shared out, so that the map is in logits per input cell whatever the layer.

    Args:
        psi: "abs", the size of each term; "rescaled", as the paper: sizes of each layer and sample are first
            stretched to 0 to 1, which makes all layers weigh alike, and nothing is shared out; "signed", the terms
            themselves, whose sum is the score (but for the linear layers' share and what edges cut off).

    Raises:
        UsageError: "bad-setting".

    Source: Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019, arXiv
    1905.00780. pytorch-grad-cam stretches each channel for itself, which is not the paper's.
    """

    name = "fullgrad"
    paper = "Srinivas and Fleuret 2019, arXiv 1905.00780"
    unit: Unit = "logit"
    signed = False
    family = "input gradient"
    forwards = 2

    def __init__(self, psi: Psi = "abs") -> None:
        if psi not in get_args(Psi):
            raise UsageError("bad-setting", f"FullGrad's psi is one of {', '.join(get_args(Psi))}, not {psi!r}.")
        self.psi = psi
        self.signed = psi == "signed"
        if psi == "rescaled":
            self.unit = "arbitrary"

    def located(self, view: View) -> Located:
        x = view.capture.x
        biased = {
            Tap(call.module, call.index): bias
            for call in view.trace.calls
            if (bias := bias_of(view.capture.model.get_submodule(call.module))) is not None
        }
        capture = Capture(view.capture.model, x, [INPUT, *biased])
        scalars = view.targets.of(capture.output, own(view))
        sums = [self._summed(view, capture, biased, scalars[:, target]) for target in range(scalars.shape[1])]
        evidence = torch.stack([one.maps for one in sums], dim=1)
        return Located(evidence, whole(x.shape[2:]), self._notes(view, scalars.detach(), sums))

    def maps(self, view: View) -> Tensor:
        return self.located(view).evidence

    def _summed(self, view: View, capture: Capture, biased: dict[Tap, Tensor], scalar: Tensor) -> Sums:
        """One backward pass; each layer's gradient is used as it comes by, and not kept."""
        x = capture.x
        zeros = torch.zeros(len(x), device=x.device)
        sums = Sums(torch.zeros((len(x), *x.shape[2:]), device=x.device), zeros, zeros.clone())
        with ExitStack() as hooks:
            for tap, bias in biased.items():
                hook = self._hook(view, tap, bias, sums)
                hooks.callback(capture.recorded(tap).register_hook(hook).remove)
            gradient = capture.gradient(scalar, INPUT).float()
        product = gradient * x.float()
        sums.add(product)
        sums.maps += self._turned(product)[:, 0]
        return sums

    def _hook(self, view: View, tap: Tap, bias: Tensor, sums: Sums) -> Callable[[Tensor], None]:
        module = view.capture.model.get_submodule(tap.module)
        batch, space = len(view.capture.x), whole(view.capture.x.shape[2:])
        call = view.trace.call(tap.module, tap.call)
        place = _place(view, call)

        def add(gradient: Tensor) -> None:
            terms = gradient.float() * beside(bias, gradient, module)
            if place is None:
                sums.add(_by_sample(terms, call, batch))
                return
            arrangement, alignment = place
            terms = arrangement.evidence(arrangement.rows(terms), batch)  # (B, C, *grid)
            sums.add(terms)
            spread = moved(self._turned(terms), alignment, space)[:, 0]
            sums.maps += spread if self.psi == "rescaled" else spread / _area(alignment)

        return add

    def _turned(self, terms: Tensor) -> Tensor:
        """Terms (B, C, *grid) through psi, summed over channels: (B, 1, *grid)."""
        if self.psi != "signed":
            terms = terms.abs()
        if self.psi == "rescaled":
            flat = terms.flatten(1)
            low, high = (edge.reshape(-1, *[1] * (terms.ndim - 1)) for edge in (flat.amin(1), flat.amax(1)))
            terms = (terms - low) / torch.where(high > low, high - low, 1)
        return terms.sum(dim=1, keepdim=True)

    @staticmethod
    def _notes(view: View, scores: Tensor, sums: list[Sums]) -> tuple[str, ...]:
        terms = torch.stack([one.terms for one in sums], dim=1)
        sizes = torch.stack([one.sizes for one in sums], dim=1)
        gaps = (scores - terms).abs()
        excess = gaps - MISSING * scores.abs() - 1e-5 * sizes
        if not bool((excess > 0).any()):
            return ("all terms add up to the score",)
        worst = int(excess.argmax())
        score, found = float(scores.flatten()[worst]), float(terms.flatten()[worst])
        return (
            f"the terms add up to {found:.4g}, the score is {score:.4g}: the rest comes from biases that belong to no "
            "convolution, norm or linear layer, or from what is not piecewise linear",
        )


def _place(view: View, call: Call) -> tuple[Arrangement, Alignment] | None:
    """Where the cells of a layer lie; None where it has no map."""
    try:
        return align(view.capture.model, view.capture.x, call, "output", measure=False)
    except ExplainError:
        return None


def _by_sample(terms: Tensor, call: Call, batch: int) -> Tensor:
    """(rows, ...) to (B, ...), where frames may be folded before or behind the samples."""
    rows = call.layout[0] if call.layout is not None else ()
    if len(rows) < 2 or not any(part.source == BATCH for part in rows):
        return terms.reshape(batch, -1)
    sizes = [batch if part.source == BATCH else part.size for part in rows]
    return terms.reshape(*sizes, -1).movedim([part.source for part in rows].index(BATCH), 0)


def _area(alignment: Alignment) -> float:
    """Input cells that a cell stands for."""
    area = 1.0
    for size, stride in zip(alignment.shape, alignment.stride, strict=True):
        area *= abs(stride) if size > 1 else max(abs(stride), 1.0)
    return area
