"""The network of a training: from a name and an input to one that learns, and from there to the one that screens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from medcam.models._classifier import Classifier
from medcam.models._initial import initialise
from medcam.models._network import build
from medcam.models._presets import preset
from medcam.training.options import Options
from medcam.training.plan import Plan

Definition = dict[str, Any]
FRAMES_POOLING = "mean"
"""Of the frames' logits: the label of a cine is one of all its frames, and so each frame was taught."""
ATTENTION = "attention-weighted mean"
"""Of a bag's logits, where the network itself weighs them."""


def new_network(plan: Plan, channels: int, options: Options) -> tuple[nn.Module, Definition, str]:
    """A network of images or bags before training, its definition, and where its weights come from, in words.

    The seed of the settings gives its random weights; the caller's chance is left as it is.

    Raises:
        ModelError: the file of first weights does not fit.
    """
    size = plan.transform_options["size"][-plan.spatial_dims :]
    definition = preset(
        options.model,
        spatial_dims=plan.spatial_dims,
        in_channels=channels,
        out_channels=len(plan.labelling.names),
        size=size,
        dropout=options.dropout,
        **options.arguments,
    )
    with torch.random.fork_rng():
        torch.manual_seed(options.settings.seed)
        network = build({"network_def": definition})
    if not options.initial:
        return network, definition, "random"
    report = initialise(network, options.initial)
    words = f"{Path(options.initial).name} ({report.source} names), {len(report.loaded)} tensors"
    notes = "".join(f"; {note}" for note in report.adapted)
    return network, definition, f"{words}, {len(report.missing)} random{notes}"


def of_series(plan: Plan, network: nn.Module, definition: Definition) -> tuple[nn.Module, Definition]:
    """The network that takes a series as screening has it: for cines one that pools the frames' logits."""
    if plan.parts == "whole" or plan.bag is not None:
        return network, definition
    from medcam.models.video import Video

    around = {"_target_": "medcam.models.video.Video", "encoder": definition, "pooling": FRAMES_POOLING}
    return Video(network, FRAMES_POOLING).eval(), around


def explained_layer(network: nn.Module, x: torch.Tensor) -> str:
    """The module whose output the head sees: its map is explained, and its mean is what two images are compared by.

    Args:
        network: one that takes series; for cines its encoder has the head.
        x: (1, C, *space), any input.

    Returns:
        str: its name; "auto" where the head sees no map.
    """
    names = {module: name for name, module in network.named_modules()}
    classifier = _classifier(network)
    if classifier is None:
        return "auto"
    given: list[tuple[str, torch.Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        given.append((names[module], output))

    hooks = [module.register_forward_hook(keep) for module in classifier.modules()]
    try:
        with torch.no_grad():
            network.eval()(x)
    finally:
        for hook in hooks:
            hook.remove()
    at = [name for name, _ in given].index(names[classifier.dropout])
    name, features = given[at]
    if features[0, 0].numel() == 1:
        return "auto"
    before, made = given[at - 1]  # of nested modules the outermost ends last
    passes_on = made.shape == features.shape and bool(torch.equal(made, features))
    return before if passes_on else name


def class_map(network: nn.Module) -> str:
    """The module that makes the class map of a network that attends.

    Its evidence for a bag is that of each image times the image's weight. At a layer before it, a gradient would also
    tell how the attention itself could be moved.
    """
    classifier = _classifier(network)
    return next((name for name, module in network.named_modules() if classifier and module is classifier.head.map), "")


def _classifier(network: nn.Module) -> Classifier | None:
    return next((module for module in network.modules() if isinstance(module, Classifier)), None)


def tiles_pooling(plan: Plan, tiled: bool) -> str:
    """How the logits of a slide's tiles become one; "" for series that are one image.

    Tiles that were taught the label of their slide are averaged. Tiles with labels of their own speak for themselves:
    one with the finding is enough.

    Args:
        tiled: some file of the manifest is a slide of several tiles.
    """
    if "slide" not in plan.pipeline.accepts.kinds or plan.bag is not None:
        return ""
    return "mean" if tiled else "max"
