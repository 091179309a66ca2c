"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Pipelines = Annotated[
    list[str] | None, typer.Option("--pipeline", "-p", help="Only this pipeline; repeat for several. Default: all.")
]
AssumeAnatomy = Annotated[
    str | None,
    typer.Option(help="Vouch for the anatomy where tags are silent (chest, lung, breast). Never overrules a tag."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
TrustCode = Annotated[bool, typer.Option(help="Let a bundle run code of its own. Only for bundles you made.")]
Results = Annotated[Path, typer.Argument(help="A results folder.")]
Source = Annotated[Path | None, typer.Option(help="Where the originals lie now, if they were moved.")]
Manifest = Annotated[
    Path, typer.Option(help="The manifest: a CSV with at least the columns file, label and patient_id.")
]
Classes = Annotated[
    str | None, typer.Option(help='Classes that exclude each other: "healthy; opacity=mass+pneumonia".')
]
MultiLabel = Annotated[
    str | None, typer.Option(help='Labels that may come together: "Mass, opacity=Infiltration+Pneumonia".')
]
Where = Annotated[
    list[str] | None, typer.Option(help="COLUMN=VALUE: only these rows of the manifest; repeat for several.")
]
