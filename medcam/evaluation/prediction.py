"""A bundle at work on the images of a manifest: logits, and how far its scores move when they are disturbed."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from medcam.data.wholes import Wholes
from medcam.errors import ModelError
from medcam.evaluation.table import Scored, Values
from medcam.models import Bundle
from medcam.models._attention import AT_ONCE, Attending, folded
from medcam.progress import Tick
from medcam.reliability.judging import Judge

LINE = "line"
"""The column of `Scored` that says where a row stands in the manifest."""


def score(
    bundle: Bundle, images: Images, manifest: Manifest, batch_size: int = 32, progress: Tick | None = None
) -> Scored:
    """What the network says about each example, without calibration or pooling.

    Args:
        bundle: its labels are those of `images.labelling`, or of a sigmoid head some of them.
        images: examples of `manifest`.
        manifest: gives files and columns.
        batch_size: examples in one forward pass.
        progress: called with (examples done, examples in all).

    Raises:
        ModelError: "bundle-labels"; "not-finite", the network gives NaN or infinity.
    """
    chosen = outputs(bundle, images.labelling)
    parts, done = [], 0
    with torch.no_grad():
        for x in _batches(bundle, images, batch_size):
            parts.append(_output(bundle, x).double().cpu())
            done += len(x)
            if progress is not None:
                progress(done, len(images))
    logits = torch.cat(parts)
    if logits.ndim != 2 or logits.shape[1] != len(bundle.card.labels):
        raise ModelError("bundle-labels", f"The network gives {tuple(logits.shape[1:])} for {bundle.card.labels}.")
    if not bool(logits.isfinite().all()):
        raise ModelError("not-finite", "The network gave NaN or infinity; the weights or the input are damaged.")
    rows = [manifest.rows[row] for row in images.rows]
    names = [name for name in rows[0].columns if name not in ("file", "patient_id", "exam", "part", LINE)]
    return Scored.of(
        logits[:, chosen].numpy(),
        images.targets,
        images.patients,
        images.labelling.names,
        bundle.card.head,
        exams=images.exams,
        files=[row.columns["file"] for row in rows],
        parts=[int(part) for part in images.parts],
        columns={LINE: [str(row.line) for row in rows], **{n: [row.columns[n] for row in rows] for n in names}},
    )


def outputs(bundle: Bundle, labelling: Labelling) -> list[int]:
    """Which of the bundle's outputs each label is. A single logit is the single finding, whatever each calls it.

    Raises:
        ModelError: "bundle-labels", the labels are others than those of the bundle.
    """
    card = bundle.card
    if labelling.head == card.head == "single-logit":
        return [0]
    same = set(labelling.names) == set(card.labels)
    part = card.head == "sigmoid" and set(labelling.names) <= set(card.labels)
    if labelling.head != card.head or not (same or part):
        raise other_labels(bundle, labelling)
    return [card.labels.index(name) for name in labelling.names]


def other_labels(bundle: Bundle, labelling: Labelling) -> ModelError:
    """What to say where labels do not fit."""
    card = bundle.card
    how = {
        "single-logit": "with --positive and --negative say which raw labels mean it and which its absence",
        "sigmoid": f'say --multilabel "{", ".join(card.labels)}" or some of them',
        "softmax": f'say --classes "{"; ".join(f"{name}=..." for name in card.labels)}"',
    }[card.head]
    said = ", ".join(labelling.names)
    message = f"The bundle knows {', '.join(card.labels)} ({card.head}), not {said} ({labelling.head}); {how}."
    return ModelError("bundle-labels", message)


def deviations(
    bundle: Bundle,
    images: Images,
    method: str,
    batch_size: int = 16,
    seed: int = 0,
    progress: Tick | None = None,
) -> Values:
    """(N, K) standard deviation of each score, calibrated as screening calibrates it, over the disturbances.

    Args:
        bundle: what is disturbed, or its images.
        images: as for `score`.
        method: a member of the uncertainty shelf.
        batch_size: examples that are disturbed together.
        seed: of what is random.
        progress: called with (examples done, examples in all).

    Raises:
        ExplainError: the model has nothing that can be disturbed this way.
    """
    judge, chosen = Judge(bundle, method), outputs(bundle, images.labelling)
    found: list[list[float]] = []
    for x in _batches(bundle, images, batch_size):
        if isinstance(images, Wholes) and images.by == "exam":
            spreads = judge.spreads_of_bag(folded(x), judge.look(x)[0], chosen[0], seed)
        else:
            spreads = judge.spreads(judge.explain(x, chosen[0]), seed)
        found += [[judge.doubt([spread], label).score_sd or 0.0 for label in chosen] for spread in spreads]
        if progress is not None:
            progress(len(found), len(images))
    return np.array(found)


def _batches(bundle: Bundle, images: Images, size: int) -> Iterator[Tensor]:
    """(B, C, *space) in turns, on the network's device; of cines and bags, which differ in size, one by one."""
    device = bundle.device
    size = 1 if isinstance(images, Wholes) else size
    for start in range(0, len(images), size):
        rows = range(start, min(start + size, len(images)))
        yield torch.stack([images[row]["image"] for row in rows]).to(device)


def _output(bundle: Bundle, x: Tensor) -> Tensor:
    """(B, K); a bag of many patches is looked at in turns."""
    halves = Attending.of(bundle.model)
    if halves is None:
        output: Tensor = bundle.model(x)
        return output
    return halves.look(folded(x), [x.shape[2]] * len(x), AT_ONCE).output
