"""Networks that are taught bags of images, each with one label: for which pipelines, and what a bag is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medcam.data.bags import By
from medcam.data.manifest import Row
from medcam.errors import UsageError
from medcam.models._presets import preset
from medcam.pipeline import Pipeline
from medcam.study import Kind
from medcam.training.options import Options

KINDS: Mapping[str, tuple[Kind, By, str]] = {
    "medcam.models.video.Video": ("cine", "file", "the frames of a cine"),
    "medcam.models.mil.MIL": ("slide", "exam", "the patches of a slide"),
}
"""By network: the kind of series, what makes a bag of it, and that in words."""
BATCHES = 16, 4
"""Images of one step, and bags of one step, where nobody says how many."""


def usual_batch(model: str) -> int:
    """Images, or bags, of one step for the network of this name."""
    images, bags = BATCHES
    return bags if "encoder" in preset(model) else images


def bag_of(name: str, pipeline: Pipeline, options: Options) -> By | None:
    """What makes a bag for the chosen network; None where it is taught single images.

    Raises:
        UsageError: "network-input", the pipeline has no such series; "unknown-network".
    """
    definition = preset(options.model, **options.arguments)
    if "encoder" not in definition:
        return None
    kind, by, words = KINDS[definition["_target_"]]
    if kind not in pipeline.accepts.kinds:
        series = " and ".join(pipeline.accepts.kinds)
        encoder = preset(options.model)["encoder"]["_target_"].split(".")[-2]
        message = f"{options.model} looks at {words} together, but {name} asks about {series} series"
        raise UsageError("network-input", f"{message}; name a network of single images instead, such as a {encoder}.")
    if definition.get("pooling", "attention") != "attention":
        message = f"{options.model} is taught whole bags only with attention, not with {definition['pooling']}"
        raise UsageError("network-input", f"{message}; leave its pooling out, or name its encoder.")
    return by


def bag_targets(
    rows: Sequence[Row], targets: npt.NDArray[np.float32], exclusive: bool
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Targets (N, K) of rows as those of their exams, which have what one of their rows has; and what to say of it.

    Args:
        exclusive: the labels exclude each other.

    Raises:
        UsageError: "mixed-labels", rows of one exam are of several classes.
    """
    _, first, owner = np.unique([row.exam for row in rows], return_index=True, return_inverse=True)
    whole = np.zeros((len(first), targets.shape[1]), np.float32)
    np.maximum.at(whole, owner, targets)
    if exclusive and (whole.sum(axis=1) > 1).any():
        exam = rows[int(first[whole.sum(axis=1).argmax()])].exam
        message = f"Rows of the exam {exam} are of several classes, but it is one bag with one label"
        raise UsageError("mixed-labels", f"{message}; label whole exams, or train a network of single images.")
    notes = [f"{len(rows)} files are {len(first)} bags, one for each exam"]
    if (whole[owner] != targets).any():
        notes.append("a bag has a label if one of its files has it")
    return whole[owner], tuple(notes)
