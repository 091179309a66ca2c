"""What a manifest's labels mean to a bundle: as somebody said, as it was trained, or 0 and 1."""

import json
from collections.abc import Iterable

from medcam.data.labelling import Labelling
from medcam.errors import ModelError
from medcam.evaluation.prediction import other_labels
from medcam.models import Bundle

ACCOUNT = "docs/training.json"
"""The blob in which a trained bundle tells how it came about."""


def meaning(bundle: Bundle, said: Labelling | None, labels: Iterable[str]) -> Labelling:
    """The labelling to evaluate with.

    Args:
        bundle: the model.
        said: what the user said, if anything.
        labels: the raw labels of the manifest.

    Raises:
        UsageError: "unknown-label", a raw value that was said is in no row; "label-not-0-1", nothing is known and
            labels are not 0 or 1.
        ModelError: "bundle-labels", the bundle knows other labels; "bundle-config", what it tells of its training
            cannot be read.
    """
    remembered = None if said is not None else _remembered(bundle)
    if remembered is not None:
        return remembered
    meant = said or Labelling.parse(bundle.card.labels[0])
    if not set(meant.names) <= set(bundle.card.labels):
        raise other_labels(bundle, meant)
    meant.check(labels)
    return meant


def _remembered(bundle: Bundle) -> Labelling | None:
    content = bundle.blob(ACCOUNT)
    if content is None:
        return None
    try:
        data = json.loads(content)["data"]
        members = {name: tuple(values) for name, values in data["members"].items()}
        return Labelling(bundle.card.labels, bundle.card.head, members, tuple(data["negative"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            "bundle-config", f"{bundle.folder / ACCOUNT} cannot be read: {error}; make it anew."
        ) from error
