"""A pipeline is one clinical question: which series it accepts, and the members that answer it, named by string."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medcam.plugins import Shelf, locate
from medcam.record import Record
from medcam.study import Kind, Reason, Series

Declined = Literal["skipped", "refused"]


@dataclass(frozen=True)
class Accepts(Record):
    """Which series a pipeline may score, judged from tags alone."""

    modalities: tuple[str, ...]
    kinds: tuple[Kind, ...]
    anatomy: str
    """The word for `--assume-anatomy`, e.g. "lung"."""
    body_parts: tuple[str, ...]
    """Values of BodyPartExamined (or coded anatomic region meanings), upper case, that establish the anatomy."""
    views: tuple[str, ...] = ()
    """Accepted ViewPosition values; () where the view does not matter."""
    least_slices: int = 1
    prefer: str = "every"
    """"every" scores each accepted series; "thinnest" the one with the most slices per study."""

    def judge(
        self, series: Series, assume_anatomy: str | None = None, *, alone: bool = False
    ) -> tuple[Declined, Reason] | None:
        """None if the series may be scored, else ("skipped" | "refused", why).

        Args:
            series: with its header facts.
            assume_anatomy: what the caller vouches for where the tags are silent; it never overrules a tag.
            alone: no other pipeline was chosen, so the caller vouches for the modality too where a file has none.
        """
        facts = series.facts
        assumed = assume_anatomy is not None and assume_anatomy.lower() == self.anatomy.lower()
        if series.modality and series.modality not in self.modalities:
            return "skipped", Reason("other-modality", f"{series.modality}, not {'/'.join(self.modalities)}")
        if series.kind not in self.kinds:
            return "skipped", Reason("other-kind", f"{series.kind}, not {'/'.join(self.kinds)}")
        if not series.modality and not (assumed and alone):
            return "refused", Reason("modality-not-stated", f"a file of this format names no modality ({series.kind})")
        stated = facts.get("BodyPartExamined", "").strip().upper()
        if stated and stated not in self.body_parts:
            return "skipped", Reason("other-anatomy", f"{stated}, not {'/'.join(self.body_parts)}")
        if not stated and not assumed:
            return "refused", Reason("anatomy-not-stated", "BodyPartExamined is empty")
        view = facts.get("ViewPosition", "").strip().upper()
        if self.views and view and view not in self.views:
            return "refused", Reason("other-view", f"{view}, not {'/'.join(self.views)}")
        if self.views and not view and not assumed:
            return "refused", Reason("anatomy-not-stated", "ViewPosition is empty")
        if series.kind in ("volume", "cine") and len(series.frames) < self.least_slices:
            return "skipped", Reason("too-few", f"{len(series.frames)}, at least {self.least_slices} needed")
        return None


@dataclass(frozen=True)
class Pipeline(Record):
    """One clinical question and everything that answers it."""

    question: str
    finding: str
    accepts: Accepts
    transform: str
    model: str
    """Name of a demonstration bundle under sample_data/bundles, or the folder of a bundle."""
    explainer: str = "gradcam"
    layer: str = "auto"
    uncertainty: str = "augmentation"
    region_fraction: float = 0.35
    """Regions are cut out at this share of the display range."""
    codes: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    limits: str = ""

    def digest(self, model_settings: str = "") -> str:
        """SHA-256 of everything above, the same on every machine, and of how the model that answers is set."""
        told = json.dumps(self.to_dict(), sort_keys=True) + model_settings
        return hashlib.sha256(told.encode()).hexdigest()


def shelf() -> Shelf[Pipeline]:
    """The pipelines of this installation, by file name."""
    return Shelf("pipeline", locate("pipelines"), None, lambda module, name: module.PIPELINE)
