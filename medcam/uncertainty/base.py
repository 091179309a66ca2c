"""The contract of a disturbance: members by name, and for each sample how much score and evidence spread over them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import Explained
from medcam.explainers._session import first_tensor
from medcam.findings import Uncertainty
from medcam.grid import Grid, resample

if TYPE_CHECKING:
    from medcam.models import Bundle

Score = Callable[[Tensor], Tensor]
"""From explained scalars (B,), logits as a rule, to scores (B,)."""


@dataclass(frozen=True)
class Member:
    """What one disturbance gave for a batch, on whatever grids its evidence then lay."""

    name: str
    logits: Tensor
    """(B,): the explained scalar of each sample."""
    evidence: npt.NDArray[np.float32]
    """(B, *cells)."""
    grids: Sequence[Grid]
    seen: Sequence[Grid]
    """What the model looked at: outside of it this member says nothing."""
    outputs: Tensor | None = None
    """(B, K): the network's whole output, where it is of that shape."""


@dataclass(frozen=True)
class Spread:
    """How far one sample's score and evidence move."""

    uncertainty: Uncertainty
    logits: dict[str, float]
    """The explained scalar by name of the disturbance."""
    cells: npt.NDArray[np.float32]
    """(members, *grid.shape): each member's evidence on the undisturbed evidence's grid; NaN where it saw nothing."""
    outputs: npt.NDArray[np.float64] | None = None
    """(members, K): the network's whole outputs, for a calibration that needs all of them."""

    @property
    def per_cell(self) -> npt.NDArray[np.float32]:
        """(*grid.shape): standard deviation of the evidence over the members, in the evidence's unit."""
        return standard_deviation(self.cells)


class Disturbance(ABC):
    """One way to disturb the input or the network.

    Args:
        passes: how many members, at least two; each costs one more (partial) forward pass.

    Raises:
        UsageError: fewer than two passes, from which nothing can spread.
    """

    name: ClassVar[str]
    networks: ClassVar[bool] = False
    """Whether members are networks of their own, so that what they disagree about is epistemic."""

    @classmethod
    def of(cls, bundle: "Bundle") -> Self:
        """As a bundle is screened with it."""
        return cls()

    def __init__(self, passes: int = 8) -> None:
        if passes < 2:
            raise UsageError("too-few-passes", f"A spread needs at least two passes, not {passes}.")
        self.passes = passes

    @abstractmethod
    def members(self, model: nn.Module, explained: Explained, target: int, seed: int) -> Iterator[Member]:
        """Each disturbance in turn, for the whole batch; the same for a sample whatever else is in its batch."""

    def spread(
        self,
        model: nn.Module,
        explained: Explained,
        *,
        target: int = 0,
        score: Score = torch.sigmoid,
        seed: int = 0,
    ) -> list[Spread]:
        """How far each sample's score and evidence move, for the targets and the layer that were explained.

        Args:
            explained: what `explain` returned for a batch; it holds the images too.
            target: which of its K targets.
            score: from explained scalars (B,) to scores (B,).
            seed: of everything random; the same for every sample, so that a result does not depend on its batch.

        Raises:
            ExplainError: the model has nothing that can be disturbed this way.
        """
        members = list(self.members(model, explained, target, seed))
        logits = torch.stack([member.logits.detach().float().cpu() for member in members])  # (members, B)
        scores = torch.stack([score(row) for row in logits]).double().numpy()
        names = [member.name for member in members]
        spreads = []
        for b, grid in enumerate(explained.grids):
            cells = np.stack([_back(member, b, grid) for member in members])
            by_name = dict(zip(names, scores[:, b].tolist(), strict=True))
            uncertainty = Uncertainty(self.name, by_name, float(scores[:, b].std()))
            outputs = [member.outputs[b].double().cpu().numpy() for member in members if member.outputs is not None]
            whole = np.stack(outputs) if len(outputs) == len(members) else None
            spreads.append(Spread(uncertainty, dict(zip(names, logits[:, b].tolist(), strict=True)), cells, whole))
        return spreads


def _back(member: Member, sample: int, grid: Grid) -> npt.NDArray[np.float32]:
    """A member's evidence on the cells of the undisturbed evidence."""
    values, source = member.evidence[sample], member.grids[sample]
    return resample(values, source, grid, within=member.seen[sample], fill=float("nan"))


def standard_deviation(cells: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Over the first axis, of what is not NaN (ddof 0); NaN where fewer than two members saw a cell."""
    seen = np.isfinite(cells)
    count = np.where(seen.sum(axis=0) < 2, np.nan, seen.sum(axis=0))
    values = np.where(seen, cells, 0).astype(np.float64)
    mean = values.sum(axis=0) / count
    variance = (np.where(seen, values - mean, 0) ** 2).sum(axis=0) / count
    deviation: npt.NDArray[np.float32] = np.sqrt(variance).astype(np.float32)
    return deviation


def whole_output(output: Any) -> Tensor | None:
    """What the network returned as (B, K); None if it is of another shape."""
    tensor = first_tensor(output)
    return None if tensor is None or tensor.ndim != 2 else tensor.detach()
