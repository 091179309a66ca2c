"""Deep ensemble (Lakshminarayanan 2017): networks trained apart, on other seeds or folds, each say what they see."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from torch import nn

from medcam.errors import ModelError, UsageError
from medcam.explainers import Explained, explain
from medcam.models import Bundle, load_bundle, member_folders
from medcam.uncertainty.base import Disturbance, Member, whole_output

SAME = ("labels", "head", "transform", "transform_options")
"""What the cards of an ensemble must agree on: the question, and how the input is made."""


class Ensemble(Disturbance):
    """The explained network and others beside it; each explains its own score at its own layer.

    Args:
        folders: bundles of the other networks, of any architecture.

    Raises:
        UsageError: "too-few-passes", there is no other network.
        ModelError: "ensemble-mismatch", their cards answer different questions; or as `load_bundle`.
    """

    name = "ensemble"
    networks = True

    def __init__(self, folders: Sequence[Path | str]) -> None:
        super().__init__(1 + len(folders))
        self.bundles = [load_bundle(folder) for folder in folders]
        for other in self.bundles[1:]:
            _alike(self.bundles[0], other)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The bundles in the folder "members" of a bundle."""
        folders = member_folders(bundle.folder)
        if not folders:
            message = f"{bundle.folder} has no other networks; put their bundles into its folder members/."
            raise UsageError("no-members", message)
        found = cls(folders)
        _alike(bundle, found.bundles[0])
        return found

    def members(self, model: nn.Module, explained: Explained, target: int, seed: int) -> Iterator[Member]:
        """What was explained already, then one forward pass of each other network."""
        yield _member("the network itself", explained, target)
        for number, bundle in enumerate(self.bundles, start=1):
            result = explain(
                bundle.model.to(explained.images.device),
                explained.images,
                explained.by,
                targets=explained.targets.again,
                layer=bundle.card.layer,
                head=explained.targets.head,
                grids=explained.input_grids,
            )
            yield _member(f"network {number}", result, target)


def _member(name: str, explained: Explained, target: int) -> Member:
    evidence = explained.evidence[:, target].float().cpu().numpy()
    grids, outputs = (explained.grids, explained.input_grids), whole_output(explained.output)
    return Member(name, explained.scores[:, target], evidence, *grids, outputs)


def _alike(one: Bundle, other: Bundle) -> None:
    for fact in SAME:
        mine, theirs = getattr(one.card, fact), getattr(other.card, fact)
        if mine != theirs:
            message = f"{one.folder} and {other.folder} differ in {fact} ({mine}, {theirs}): they are no ensemble."
            raise ModelError("ensemble-mismatch", message)
