"""What a trained network says about series, just as screening will have it say: a row for each file of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medcam.data.bags import Bags
from medcam.data.images import Images
from medcam.evaluation.subgroups import ATTRIBUTES
from medcam.evaluation.table import Scored, log_probability
from medcam.models._attention import AT_ONCE, FEATURES, Attending
from medcam.models._pooling import of_series
from medcam.progress import Tick
from medcam.reliability.calibration import Calibration
from medcam.reliability.support import Examples, features
from medcam.training.plan import Plan


@dataclass(frozen=True)
class Answers:
    """N series or bags, aligned along the rows."""

    scored: Scored
    """Frames and tiles are pooled as the bundle pools them."""
    features: npt.NDArray[np.float32]
    """(N, D): activations at the explained layer, averaged over cells and frames; of a slide, its highest tile's;
    of a bag, what its head sees."""
    layer: str
    """What the features are of: the module that is explained, but for a bag's."""

    def calibrated(self, calibration: Calibration) -> Scored:
        """The same scores as the probabilities that screening states."""
        return replace(self.scored, probabilities=calibration.probability(self.scored.logits))

    def examples(self, calibration: Calibration) -> Examples:
        """As the support wants them."""
        scored = self.calibrated(calibration)
        return Examples(self.features, scored.probabilities, scored.targets, scored.patients, scored.files)


def ask(
    network: nn.Module, layer: str, images: Images | Bags, plan: Plan, pooling: str, batch: int, tick: Tick
) -> Answers:
    """Let the network look at every series or bag, in eval mode.

    Args:
        network: of the bundle: for cines the one that takes whole cines.
        layer: which is explained.
        images: examples, of which those of one file belong together; or bags of them.
        plan: says what the files are.
        pooling: of the logits of a slide's tiles.
        batch: examples in one forward pass, unless they are bags.
        tick: called with (series or bags done, all of them).
    """
    network.eval()
    if isinstance(images, Bags):
        logits, seen, named = _attended(network, images, tick)
        rows, targets = images.rows, images.targets
    else:
        logits, seen, named = _pooled(network, layer, images, plan, pooling, batch, tick)
        first = [int(group[0]) for group in series(images)]
        rows, targets = images.rows[first], images.targets[first]
    files = [plan.manifest.rows[row] for row in rows]
    scored = Scored.of(
        logits,
        targets,
        [row.patient_id for row in files],
        plan.labelling.names,
        plan.labelling.head,
        exams=[row.exam for row in files],
        files=[row.columns["file"].strip() for row in files],
        columns={name: [row.columns[name] for row in files] for name in _described(files[0].columns)},
    )
    return Answers(scored, seen, named)


Seen = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], str]
"""Logits (N, K), features (N, D) and what they are of."""


def _pooled(network: nn.Module, layer: str, images: Images, plan: Plan, pooling: str, batch: int, tick: Tick) -> Seen:
    """Of files, whose frames the network pools itself, and whose tiles are pooled here."""
    device, groups = next(network.parameters()).device, series(images)
    logits, seen = [], []
    for done, x, sizes in _inputs(images, groups, plan.parts == "frames", batch):
        z, h, named = features(network, (part.to(device) for part in x.split(batch)), layer)
        for rows in np.split(np.arange(len(z)), np.cumsum(sizes)[:-1]):
            logits.append(of_series(torch.from_numpy(z[rows]), plan.labelling.head, pooling).numpy())
            seen.append(
                h[rows[log_probability(z[rows].astype(np.float64), plan.labelling.head)[:, plan.label].argmax()]]
            )
        tick(done, len(groups))
    return np.stack(logits), np.stack(seen), named


def _attended(network: nn.Module, bags: Bags, tick: Tick) -> Seen:
    """Of bags, whole and one by one."""
    halves, device = Attending.of(network), next(network.parameters()).device
    assert halves is not None
    looked = []
    for index in range(len(bags)):
        bag = bags[index]
        with torch.no_grad():
            looked.append(halves.look(bag["image"].to(device), [bag["size"]], AT_ONCE))
        tick(index + 1, len(bags))
    logits, seen = torch.cat([one.output for one in looked]), torch.cat([one.embedded for one in looked])
    return logits.float().cpu().numpy(), seen.float().cpu().numpy(), FEATURES


def series(images: Images) -> list[npt.NDArray[np.intp]]:
    """The numbers of the examples of each file, in the order of the manifest."""
    _, first, counts = np.unique(images.rows, return_index=True, return_counts=True)
    return [np.arange(start, start + count) for start, count in zip(first, counts, strict=True)]


def cine(images: Images, group: npt.NDArray[np.intp]) -> torch.Tensor:
    """The frames of a file as a whole: (1, C, T, H, W)."""
    return torch.stack([images[int(i)]["image"] for i in group], dim=1)[None]


def _inputs(
    images: Images, groups: list[npt.NDArray[np.intp]], cines: bool, batch: int
) -> Iterator[tuple[int, torch.Tensor, list[int]]]:
    """How many series are done afterwards, an input (B, C, *space), and how many of its rows belong to each series."""
    waiting: list[npt.NDArray[np.intp]] = []
    for done, group in enumerate(groups, start=1):
        if cines:
            yield done, cine(images, group), [1]
            continue
        waiting.append(group)
        if done == len(groups) or sum(map(len, waiting)) >= batch:
            x = torch.stack([images[int(i)]["image"] for i in np.concatenate(waiting)])
            yield done, x, [len(each) for each in waiting]
            waiting = []


def _described(columns: Iterable[str]) -> list[str]:
    """Columns that say something about a patient's group or the device, and nothing by which to find the patient."""
    known = {name for names in ATTRIBUTES.values() for name in names}
    return [name for name in columns if name.strip().casefold() in known]
