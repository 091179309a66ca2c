"""A bundle's answers on the images of a manifest: decoded, scored, pooled to cases and calibrated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medcam.data.dataset import LeftOut, load
from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from medcam.data.wholes import Wholes
from medcam.evaluation.aggregation import VOTE, Level, aggregate
from medcam.evaluation.decisions import Decisions
from medcam.evaluation.prediction import score
from medcam.evaluation.table import Scored
from medcam.models import Bundle
from medcam.models._attention import Attending
from medcam.progress import Progress

RATE = "frames_per_second"
"""The option of a transform that takes so many frames of a cine."""
POOLING = {"": "mean probability", "mean": "mean logit"}
"""From a card's pooling to the rule of `aggregation`; others have one name."""


@dataclass(frozen=True)
class Options:
    """How to evaluate."""

    where: Mapping[str, str] = field(default_factory=dict)
    """Cells that a row must have, by column."""
    side: str = ""
    """"", or a side of the split."""
    by: Level = "exam"
    """What a case is."""
    rule: str = ""
    """How images and frames become a case; "" as the bundle's card says."""
    frames: bool = False
    """Score each frame of a cine by itself."""
    uncertainty: Sequence[str] = ()
    """Disturbances whose spread is tried as a sign of errors."""
    disturbance: str = ""
    """What screening measures doubt by, to see whom it would refer; "" as the bundle's pipeline says, or "none"."""
    worst: int = 3
    """Pictures of errors of each kind and label."""
    draws: int = 2000
    seed: int = 0
    device: str = "cpu"
    batch_size: int = 32
    workers: int = 2
    cache: Path | None = None
    """Where prepared images are kept for the next run."""
    trust_code: bool = False


@dataclass(frozen=True)
class Answers:
    """One bundle's answers on the manifest."""

    bundle: Bundle
    decisions: Decisions
    """About cases."""
    single: Decisions
    """About images, frames and tiles."""
    manifest: Manifest
    images: Images
    """What was scored: images, tiles or single frames, each by itself; or cines and bags of patches, see `Wholes`."""
    left_out: tuple[LeftOut, ...]
    scored: Scored
    """A row per image, frame or tile."""
    cases: Scored
    """Pooled and calibrated."""
    rule: str
    by: Level

    @property
    def keys(self) -> Sequence[str]:
        """(N,) for each row of `scored` what makes its case."""
        return {"image": self.scored.files, "exam": self.scored.exams, "patient": self.scored.patients}[self.by]


def answers(bundle: Bundle, manifest: Manifest, meant: Labelling, options: Options, progress: Progress) -> Answers:
    """Decode, score, pool and calibrate."""
    card, stated = bundle.card, bundle.card.transform_options
    cines = RATE in stated  # of as many frames as they are long
    sampled = {"frames_per_second": stated[RATE], "most_frames": stated["frames"]} if cines else {}
    images, left_out = load(
        manifest,
        meant,
        card.transform,
        stated,
        parts="frames" if options.frames or cines else "whole",
        cache=options.cache,
        workers=options.workers,
        progress=progress.stage("reading images"),
        **sampled,
    )
    if cines and not options.frames:
        images = Wholes(images, "file")
    elif Attending.of(bundle.model) is not None:
        images = Wholes(images, "exam")
    scored = score(bundle, images, manifest, options.batch_size, progress.stage("scoring"))
    rule = options.rule or POOLING.get(card.pooling, card.pooling)
    single = Decisions.of(bundle, meant.names)
    if rule == VOTE:  # of decisions, so that calibration comes before it
        cases, decisions = (
            aggregate(single.apply(scored), rule, options.by, single.thresholds),
            single.voted(scored.head == "softmax"),
        )
    else:
        cases, decisions = single.apply(aggregate(scored, rule, options.by)), single
    return Answers(bundle, decisions, single, manifest, images, left_out, scored, cases, rule, options.by)
