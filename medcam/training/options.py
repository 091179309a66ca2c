"""What the command line can ask of a training, beside the settings of the training itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from medcam.data.splits import WITHIN
from medcam.record import Record
from medcam.training.settings import Settings


@dataclass(frozen=True)
class Options(Record):
    """What the command line can ask of a training."""

    model: str = "resnet18"
    """A network's name, see `models._presets`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of its architecture, in place of what the name means."""
    size: tuple[int, ...] = ()
    """Of the input along each axis, or one number for all; () is the transform's own."""
    dropout: float = 0.0
    """Share of features dropped before the logits while training."""
    initial: str = ""
    """A file of weights to begin with."""
    positive: str | None = None
    negative: str | None = None
    classes: str | None = None
    multilabel: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    """Only rows with this cell in this column."""
    split_column: bool = False
    """Take the sides from the manifest's column `split`."""
    folds: int = 0
    within: Mapping[str, float] = field(default_factory=lambda: dict(WITHIN))
    """What each fold takes out of its training patients, as shares of all patients."""
    sensitivity: float | None = None
    """The threshold finds this share of the sick; None: Youden."""
    calibration: Literal["scaling", "isotonic", "auto"] = "scaling"
    """"scaling", "isotonic", or "auto": the better of both over folds of the calibration patients."""
    miscoverage: float = 0.1
    """How often a conformal set may miss the truth."""
    half: bool = False
    """Keep the weights in 16 bits."""
    workers: int = 2
    """Decoding processes."""
    settings: Settings = field(default_factory=Settings)
    dry_run: bool = False
    force: bool = False
    """Begin anew, and replace a bundle that is there."""
