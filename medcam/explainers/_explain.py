"""`explain`: from a model and its input to evidence with a place, for several methods and targets from one forward."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from medcam.errors import ExplainError, UsageError
from medcam.explainers import SHELF
from medcam.explainers._alignment import align, whole
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._attention_method import AttentionMethod
from medcam.explainers._blocks import Blocks, blocks_of
from medcam.explainers._capture import Capture, Tap
from medcam.explainers._features import averaged
from medcam.explainers._fusion import Fuse, Fused
from medcam.explainers._layer import find, right_angled
from medcam.explainers._layout import of_input
from medcam.explainers._optimised import optimised
from medcam.explainers._outliers import Outliers, outliers, watched
from medcam.explainers._result import Explained
from medcam.explainers._session import first_tensor, undisturbed, unwrapped
from medcam.explainers._squash import squash_note, unsquashed
from medcam.explainers._targets import Head, Target, resolve
from medcam.explainers._trace import Trace, trace
from medcam.explainers.base import InputMethod, Method, Tick, View
from medcam.grid import Grid

INPUT = Tap("", role="input")
UNLAYERED = (InputMethod, AttentionMethod)
"""Kinds of methods that explain no layer."""

MethodLike = str | type[Method] | Method
LayerLike = str | nn.Module | Tap


@overload
def explain(
    model: nn.Module | str | Path,
    x: Tensor,
    method: MethodLike = "gradcam",
    targets: Target = "predicted",
    layer: LayerLike | Sequence[LayerLike] = "auto",
    *,
    fuse: Fuse = "max",
    head: Head = "auto",
    grid: Grid | None = None,
    grids: Sequence[Grid] | None = None,
    budget: int = 16,
    optimise: bool = False,
    progress: Tick | None = None,
) -> Explained: ...


@overload
def explain(
    model: nn.Module | str | Path,
    x: Tensor,
    method: list[MethodLike] | tuple[MethodLike, ...],
    targets: Target = "predicted",
    layer: LayerLike | Sequence[LayerLike] = "auto",
    *,
    fuse: Fuse = "max",
    head: Head = "auto",
    grid: Grid | None = None,
    grids: Sequence[Grid] | None = None,
    budget: int = 16,
    optimise: bool = False,
    progress: Tick | None = None,
) -> dict[str, Explained]: ...


def explain(
    model: nn.Module | str | Path,
    x: Tensor,
    method: MethodLike | list[MethodLike] | tuple[MethodLike, ...] = "gradcam",
    targets: Target = "predicted",
    layer: LayerLike | Sequence[LayerLike] = "auto",
    *,
    fuse: Fuse = "max",
    head: Head = "auto",
    grid: Grid | None = None,
    grids: Sequence[Grid] | None = None,
    budget: int = 16,
    optimise: bool = False,
    progress: Tick | None = None,
) -> Explained | dict[str, Explained]:
    """Why does the model give these outputs for these images, cell by cell?

    One forward pass serves all methods and targets. The model is left exactly as it was, also after an error.

    Args:
        model: any network that takes one tensor; compiled and parallel wrappers are looked through. Or the folder of a
            MONAI Bundle, or "module:factory", whose code then runs.
        x: (B, C, H, W), (B, C, D, H, W) or (B, C, T, H, W); without B if `grid` is given.
        method: a name on the shelf, a method class or instance, or several of them (the result is then a dict).
        targets: "predicted"; "all"; a class; one class per sample; (B, K) classes; or output -> scalar per sample.
        layer: a name, a module, or "auto": the last spatial map before pooling. Of several, maps are put together.
        fuse: how they are: "max", "mean" or "product".
        head: what the output means where that cannot be told: "sigmoid", "regression" and so on.
        grid: where the image lies (shared by all samples); by default it is a plane of pixels.
        grids: one grid per sample.
        budget: most samples in one forward pass of the methods that ask the model again and again.
        optimise: explain a faster copy of the model (batch norms folded, channels last, bfloat16 where that gains); it
            is kept while the model lives, and what it deviates by is told in the notes.
        progress: called with (done, total) while they do.

    Raises:
        ExplainError: no such layer, no spatial axes, a target out of range, NaN, no gradient.
        UsageError: no such method, or the input has no fitting shape.
    """
    several = isinstance(method, list | tuple)
    methods = [_method(one) for one in (method if isinstance(method, list | tuple) else [method])]
    if not methods:
        raise UsageError("unknown-explainer", "Name one method at least.")
    if len({one.name for one in methods}) < len(methods):
        raise UsageError("same-method", "One call takes each method once; ask twice for two settings of a method.")
    model = _model(model)
    x, input_grids = _input(x, grid, grids)
    model = unwrapped(model)
    notes = [_trained(model)] if any(module.training for module in model.modules()) else []
    traced = trace(model, x)
    about_layer: list[str] = []
    if all(isinstance(one, UNLAYERED) for one in methods):
        tap, arrangement, alignment = INPUT, Arrangement(of_input(x.shape), x.ndim - 2), whole(x.shape[2:])
        if layer != "auto":
            _tap(model, traced, layer, x.ndim - 2, [], fuse)
            notes.append("no layer is looked at: the one that was named does nothing")
    else:
        tap, said = _tap(model, traced, layer, x.ndim - 2, methods, fuse)
        arrangement, alignment = align(model, x, traced.call(tap.module, tap.call), tap.role)
        about_layer += [said] if said else []
        if alignment.how != "composed":
            about_layer.append(f"the cells' places could not be composed: {alignment}")
    if optimise:
        fast = optimised(model, x, methods, tap, traced, arrangement)
        model, x = fast.model, fast.input(x)
        traced = trace(model, x)
        notes.append(fast.note)
    blocks, raw = _blocks(traced), not callable(targets) or isinstance(targets, Tensor)
    with undisturbed(model, x.device), ExitStack() as stack:
        if raw and traced.tanh:
            stack.enter_context(unsquashed(model, traced))
            notes.append(squash_note(traced))
        taps = dict.fromkeys(needed for one in methods for needed in one.taps(tap, traced))
        with watched(model, blocks) as tokens:
            capture = Capture(model, x, list(taps))
        _finite(capture.output, x)
        resolved = resolve(capture.output, len(x), targets, head)
        _finite(resolved.scalars, x)
        view = View(capture, tap, resolved, arrangement, alignment, traced, budget, progress or _silent)
        found = {one.name: one.located(view) for one in methods}
        in_logits = any(one.unit == "logit" and not isinstance(one, UNLAYERED) for one in methods)
        logits = _logits(view, len(x)) if in_logits and tap in taps else None
        if logits is not None and right_angled(view.activation, view.gradient(0)):
            about_layer.append(
                f"cells are normalised behind {tap}: none adds to the score by itself; name another layer"
            )
        output, scores = _detached(capture.output), resolved.scalars.detach()
        features = averaged(arrangement, view.activation, len(x)) if tap in taps and tap != INPUT else None
        odd = outliers(blocks, tokens, len(x))
    results = {}
    for one in methods:
        unlayered = isinstance(one, UNLAYERED)
        evidence, place = found[one.name].evidence.detach(), found[one.name].alignment
        spots = odd if odd is not None and odd.cells.shape[1:] == evidence.shape[2:] else None
        results[one.name] = Explained(
            by=one,
            evidence=evidence,
            grids=tuple(place.grid(input_grid) for input_grid in input_grids),
            input_grids=input_grids,
            output=output,
            scores=scores,
            targets=resolved.detached(),
            tap=found[one.name].tap or (INPUT if unlayered else tap),
            arrangement=arrangement,
            alignment=place,
            logits=logits if one.unit == "logit" and not unlayered else None,
            images=x.detach(),
            features=None if unlayered else features,
            notes=(*notes, *([] if unlayered else about_layer), *resolved.notes, *found[one.name].notes),
            flags=_flags(evidence, one, spots),
            outliers=None if spots is None else spots.cells,
            parts=found[one.name].parts,
        )
    return results if several else results[methods[0].name]


def _blocks(traced: Trace) -> Blocks | None:
    try:
        return blocks_of(traced)
    except ExplainError:
        return None


def _trained(model: nn.Module) -> str:
    whole = "the model was" if model.training else "a part of the model was"
    return f"{whole} in training mode; explained in evaluation mode"


def _silent(done: int, total: int) -> None:
    """Nobody looks."""


def _model(model: object) -> nn.Module:
    if isinstance(model, str | Path):
        from medcam.models import load_model

        return load_model(str(model))
    if not isinstance(model, nn.Module):
        raise UsageError("bad-model", f"A model is a torch.nn.Module or a bundle's folder, not {type(model).__name__}.")
    return model


def _tap(
    model: nn.Module, traced: Trace, layer: object, axes: int, methods: list[Method], fuse: Fuse
) -> tuple[Tap, str]:
    """The explained layer; where there are several, methods are made to fuse their maps, and it is the last."""
    for one in layer if isinstance(layer, list | tuple) else [layer]:
        if not isinstance(one, str | nn.Module | Tap):
            raise UsageError("bad-layer", f'A layer is a name, a module or "auto", not {one!r}.')
    if not isinstance(layer, list | tuple):
        return find(model, traced, cast(LayerLike, layer), axes)
    found = [find(model, traced, one, axes) for one in layer]
    if not found:
        raise UsageError("bad-layer", 'Name one layer at least, or "auto".')
    taps = [tap for tap, _ in found]
    methods[:] = [one if isinstance(one, UNLAYERED) else Fused(one, taps, fuse) for one in methods]
    return taps[-1], "; ".join(said for _, said in found if said)


def _method(method: object) -> Method:
    if isinstance(method, Method):
        return method
    if isinstance(method, type) and issubclass(method, Method):
        return method()
    if isinstance(method, str):
        return SHELF.load(method)()
    raise UsageError("unknown-explainer", f"A method is a name, a Method class or instance, not {method!r}.")


def _input(x: Tensor, grid: Grid | None, grids: Sequence[Grid] | None) -> tuple[Tensor, tuple[Grid, ...]]:
    """A plain batch and the grid of each sample."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise UsageError("bad-input", "The input is a tensor of floating-point numbers, (B, C, *space).")
    x = x.as_subclass(Tensor)
    if grid is not None and x.ndim == len(grid.shape) + 1:
        x = x[None]
    if x.ndim not in (4, 5) or x.numel() == 0:
        raise UsageError(
            "bad-input", f"The input is (B, C, H, W), (B, C, D, H, W) or (B, C, T, H, W), not {tuple(x.shape)}."
        )
    space = tuple(x.shape[2:])
    places = tuple(grids) if grids is not None else (grid or Grid.plane(space),) * len(x)
    if len(places) != len(x) or any(place.shape != space for place in places):
        raise UsageError("bad-grid", f"One grid of shape {space} is needed for each of the {len(x)} samples.")
    return x, places


def _logits(view: View, batch: int) -> Tensor:
    """(B, K, 2): how many logits all cells together speak for, and against, each target."""
    targets = range(view.scalars.shape[1])
    cells = view.arrangement.evidence(torch.stack([view.logits(target) for target in targets], dim=1), batch).flatten(2)
    return torch.stack([cells.clamp(min=0).sum(2), -cells.clamp(max=0).sum(2)], dim=2).detach()


def _finite(output: Any, x: Tensor) -> None:
    tensor = first_tensor(output)
    if tensor is not None and not bool(torch.isfinite(tensor).all()):
        origin = "the input holds" if not bool(torch.isfinite(x).all()) else "its weights or its arithmetic give"
        raise ExplainError("not-finite", f"The model's output is not finite: {origin} NaN or infinity.")


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, dict):
        return {key: _detached(value) for key, value in output.items()}
    if isinstance(output, tuple | list):
        return tuple(_detached(value) for value in output)
    return output


def _flags(evidence: Tensor, method: Method, odd: Outliers | None) -> dict[tuple[int, int], tuple[str, ...]]:
    """What is wrong with single maps.

    Raises:
        ExplainError: a map holds NaN or infinity.
    """
    flat = evidence.flatten(2).float()
    if not bool(torch.isfinite(flat).all()):
        raise ExplainError("not-finite", f"{method.name} gives NaN or infinity at this layer.")
    low, high = flat.amin(2).tolist(), flat.amax(2).tolist()
    flags: dict[tuple[int, int], tuple[str, ...]] = {}
    for b, rows in enumerate(zip(low, high, strict=True)):
        for k, (least, most) in enumerate(zip(*rows, strict=True)):
            if least == most == 0:
                flags[b, k] = ("the map is empty: the gradient at this layer is exactly zero or nothing is active",)
            elif most <= 0:
                flags[b, k] = ("no cell speaks for this target; all evidence is against it",)
            elif flat.shape[2] > 1 and most - least <= 1e-6 * max(abs(most), abs(least)):
                flags[b, k] = ("the map is the same everywhere: it locates nothing",)
            if odd is not None and odd.said[b]:
                flags[b, k] = (*flags.get((b, k), ()), odd.said[b])
    return flags
