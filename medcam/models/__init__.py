"""Models: networks, one file each, and the bundles that carry their weights and what they mean."""

from pathlib import Path
from typing import TYPE_CHECKING

from medcam.models._bundle import Bundle, load_bundle, load_model
from medcam.models._card import Card, HeadKind, member_folders, read_card, settings_digest
from medcam.models._save import save_bundle
from medcam.plugins import Shelf

if TYPE_CHECKING:
    from torch import nn

SHELF: "Shelf[type[nn.Module]]" = Shelf("model", Path(__file__).parent, __name__)

__all__ = [
    "SHELF",
    "Bundle",
    "Card",
    "HeadKind",
    "load_bundle",
    "load_model",
    "member_folders",
    "read_card",
    "save_bundle",
    "settings_digest",
]
