"""medcam evaluate: how good a bundle is on patients it has not seen."""

from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._options import Classes, Device, Manifest, MultiLabel, TrustCode, Where
from medcam.cli._terminal import finish, progress_bars, say, show
from medcam.cli._words import one_of, pairs


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Manifest,
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html, evaluation.json and predictions.csv.")],
    positive: Annotated[
        str | None, typer.Option(help='Labels that mean the finding: "Infiltration,Pneumonia". Default: as trained.')
    ] = None,
    negative: Annotated[str | None, typer.Option(help='Labels that mean its absence: "No Finding".')] = None,
    classes: Classes = None,
    multilabel: MultiLabel = None,
    where: Where = None,
    split: Annotated[
        str, typer.Option(help="Only this side, e.g. test. Patients that the model learned from are left out anyway.")
    ] = "",
    against: Annotated[Path | None, typer.Option(help="A second bundle, compared on the same patients.")] = None,
    by: Annotated[str, typer.Option(help="What a case is: image, exam or patient.")] = "exam",
    aggregate: Annotated[
        str, typer.Option(help='From images or frames to a case: "majority vote". Default: as the bundle says.')
    ] = "",
    frames: Annotated[bool, typer.Option("--frames", help="Score each frame of a cine by itself.")] = False,
    uncertainty: Annotated[
        str, typer.Option(help="Does their spread tell errors? dropout, augmentation, or both with a comma.")
    ] = "",
    disturbance: Annotated[
        str, typer.Option(help="Refer by this spread, as screening would; none is quick. Default: the pipeline's.")
    ] = "",
    worst: Annotated[int, typer.Option(help="Pictures of errors of each kind and label.", min=0)] = 3,
    draws: Annotated[int, typer.Option(help="How often patients are drawn for an interval.", min=200)] = 2000,
    seed: Annotated[int, typer.Option(help="Of these draws, and of what is disturbed.")] = 0,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="Decoding processes.", min=1)] = 2,
    cache: Annotated[
        Path | None, typer.Option(help="Folder to keep prepared images in for the next run: pixels of patients.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Measure a model on labelled patients it has not seen: figures with intervals, groups of patients, its errors."""
    from medcam.data.labelling import Labelling
    from medcam.evaluation.evaluate import Options
    from medcam.evaluation.evaluate import evaluate as run
    from medcam.models import read_card
    from medcam.scoring import choose_device

    words = {"positive": positive, "negative": negative, "classes": classes, "multilabel": multilabel}
    options = Options(
        where=pairs(where, "--where", "COLUMN=VALUE"),
        side=split,
        by=one_of("--by", by, {level: level for level in ("image", "exam", "patient")}),
        rule=aggregate,
        frames=frames,
        disturbance=disturbance,
        uncertainty=tuple(name.strip() for name in uncertainty.split(",") if name.strip()),
        worst=worst,
        draws=draws,
        seed=seed,
        device=choose_device(device),
        batch_size=batch_size,
        workers=workers,
        cache=cache,
        trust_code=trust_code,
    )
    said = Labelling.parse(read_card(bundle).labels[0], **words) if any(words.values()) else None
    with progress_bars() as progress:
        found = run(bundle, data, out, said, options, against=against, progress=progress)
    from medcam.tables import evaluation_table

    show(evaluation_table(found))
    say(f"{out / 'report.html'} shows all of it.")
    raise typer.Exit(finish(any(row.code != "other-label" for row in found.left_out)))
