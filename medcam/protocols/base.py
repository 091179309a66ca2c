"""The contract of a protocol: what was published, what is done here, and a page of results with its caveats."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from medcam.progress import Progress
from medcam.storage import storage_errors, write_whole


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly a protocol is run."""

    data: Path
    """The folder of the data set, with its manifest.csv."""
    work: Path
    """Keeps trained networks and pixels, so that a run that was stopped goes on; it holds patient ids."""
    full: bool = False
    """As thorough as the paper, for machines with an accelerator; else what two processors do in under an hour."""
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))


class Protocol(ABC):
    """One published study."""

    name: str
    paper: str
    """What was published, with its reference."""
    data: str
    """The data set it needs, and where it comes from."""

    @abstractmethod
    def run(self, setting: Setting) -> Sequence[str]:
        """Do it, and return the sections of the page (Markdown) below its head.

        Raises:
            UsageError: the data set is not what the protocol needs.
            TrainingError: a network cannot be trained; what is finished is kept.
        """


def reproduce(protocol: Protocol, setting: Setting, page: Path, command: str) -> Path:
    """Run a protocol and write its page.

    Args:
        protocol: a member of the shelf.
        setting: where and how.
        page: the Markdown file.
        command: as it is told on the page, without paths of this machine.
    """
    began = time.monotonic()
    sections = protocol.run(setting)
    minutes = (time.monotonic() - began) / 60
    title = (type(protocol).__doc__ or protocol.name).split("\n")[0].rstrip(".")
    head = f"""# {title}

**Research use only. These figures hold for the images counted here and decide nothing about a patient.**

`{command}`{" (full)" if setting.full else ""}, {minutes:.0f} minutes on {_machine()}, {datetime.now(UTC):%Y-%m-%d}. \
Networks that another run had finished in the same work folder count no time. Brackets hold 95 % intervals; where \
they come from a bootstrap, patients were drawn unless it says otherwise.

Published: {protocol.paper}

Data: {protocol.data}
"""
    with storage_errors(page.parent):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, ("\n\n".join([head.strip(), *sections]) + "\n").encode())
    return page


def _machine() -> str:
    import torch

    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()}"
    return (
        f"{os.cpu_count()} processor cores without an accelerator, {torch.get_num_threads()} of them used for training"
    )
