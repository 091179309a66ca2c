"""Everything an evaluation found, as one record: the page shows nothing that is not in here."""

from collections.abc import Mapping
from dataclasses import dataclass

from medcam.data.confounders import Probe
from medcam.evaluation.calibration import Calibrated
from medcam.evaluation.cohort import Cohort
from medcam.evaluation.comparison import Comparison
from medcam.evaluation.coverage import Coverage
from medcam.evaluation.curves import Curve
from medcam.evaluation.doubt import Doubt
from medcam.evaluation.overall import Overall
from medcam.evaluation.performance import Performance
from medcam.evaluation.referral import Referral
from medcam.evaluation.subgroups import Subgroup
from medcam.models import Bundle
from medcam.record import Record


@dataclass(frozen=True)
class Model(Record):
    """Which bundle was evaluated."""

    name: str
    version: str
    pipeline: str
    labels: tuple[str, ...]
    head: str
    threshold: float
    threshold_origin: str
    trained_on: str
    demonstration: bool
    sha256: str

    @classmethod
    def of(cls, bundle: Bundle) -> "Model":
        """From a bundle's card."""
        card = bundle.card
        return cls(
            name=card.name,
            version=card.version,
            pipeline=card.pipeline,
            labels=card.labels,
            head=card.head,
            threshold=card.threshold,
            threshold_origin=card.threshold_origin,
            trained_on=card.trained_on,
            demonstration=card.demonstration,
            sha256=bundle.sha256,
        )


@dataclass(frozen=True)
class LabelResult(Record):
    """What was found about one label."""

    performance: Performance
    by_patient: Performance | None
    """The same for patients, each by the highest score of its cases; None where every case is another patient."""
    by_image: Performance | None
    """The same for single frames or images, not pooled; None where every case is one."""
    roc: Curve | None
    precision_recall: Curve | None
    calibrated: Calibrated
    subgroups: tuple[Subgroup, ...]
    shortcuts: tuple[Probe, ...]
    """How well size, brightness, view or device tell the label without the picture."""


@dataclass(frozen=True)
class WorstCase(Record):
    """A case with an error far from the threshold. Lines, not names: the manifest knows whom they are about."""

    label: str
    """What the case was scored for."""
    kind: str
    """"missed" or "false alarm"."""
    line: str
    """Of the manifest, where the case's picture is from."""
    part: int
    """Number of the frame or tile."""
    score: float
    """Of the case."""
    notes: tuple[str, ...]
    """About its map."""


@dataclass(frozen=True)
class LeftOutRow(Record):
    """A row that gave no example."""

    line: int
    code: str


@dataclass(frozen=True)
class Evaluation(Record):
    """One bundle on one manifest."""

    medcam: str
    """Version."""
    created: str
    """UTC."""
    seconds: float
    model: Model
    cohort: Cohort
    manifest_sha256: str
    left_out: tuple[LeftOutRow, ...]
    """Rows whose label means nothing to the model, or whose file could not be read."""
    labelling: Mapping[str, tuple[str, ...]]
    """Raw labels by what they mean; "not ..." is the absence of a single finding."""
    level: str
    """What a case is: image, exam or patient."""
    aggregation: str
    """How several images or frames became a case."""
    images: int
    """Frames and tiles counted singly."""
    cases: int
    patients: int
    score_name: str
    draws: int
    seed: int
    caveats: tuple[str, ...]
    labels: tuple[LabelResult, ...]
    overall: Overall
    referrals: tuple[Referral, ...]
    """By label, over series; empty where frames were scored singly, as screening does not do."""
    doubts: tuple[Doubt, ...]
    coverage: tuple[Coverage, ...]
    worst: tuple[WorstCase, ...]
    explained: str
    """Method, unit and scale of the worst cases' maps."""
    against: Model | None
    comparisons: tuple[Comparison, ...]
