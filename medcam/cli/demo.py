"""medcam demo, medcam sample-data: phantoms, to try everything on."""

from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._terminal import progress_bars, say


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write archive, results and reports.")] = Path("demo"),
) -> None:
    """Make phantoms, screen them with every pipeline, write reports, and say how to open the reviewer."""
    from medcam.demo import run_demo

    run_demo(folder, progress_bars(), say)


def sample_data(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 0,
) -> None:
    """Write an archive of phantoms as DICOM, with the truth beside it (truth.json)."""
    from medcam.demo import write_phantoms

    truth = write_phantoms(out, seed)
    say(f"{len(truth['studies'])} studies in {out}; what is in them: {out / 'truth.json'}")
