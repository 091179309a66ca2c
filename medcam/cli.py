"""The command line. Every command imports what it needs when it runs, so that help answers at once."""

import json
import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medcam.errors import MedcamError

app = typer.Typer(
    name="medcam",
    help="Explainable screening of medical images: DICOM folder in, reviewed report out. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class Exit(IntEnum):
    """Exit codes: 0 done, 2 not possible as asked, 3 done but eligible studies were refused or failed, 130 stopped."""

    DONE = 0
    USAGE = 2
    INCOMPLETE = 3
    STOPPED = 130


Pipelines = Annotated[
    list[str] | None, typer.Option("--pipeline", "-p", help="Only this pipeline; repeat for several. Default: all.")
]
AssumeAnatomy = Annotated[
    str | None,
    typer.Option(help="Vouch for the anatomy where tags are silent (chest, lung, breast). Never overrules a tag."),
]


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write archive, results and reports.")] = Path("demo"),
) -> None:
    """Make phantoms, screen them with every pipeline, write reports, and say how to open the reviewer."""
    from medcam.demo import run_demo

    run_demo(folder, _progress(), _say)


@app.command("sample-data")
def sample_data(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 0,
) -> None:
    """Write an archive of phantoms as DICOM, with the truth beside it (truth.json)."""
    from medcam.demo import write_phantoms

    truth = write_phantoms(out, seed)
    _say(f"{len(truth['studies'])} studies in {out}; what is in them: {out / 'truth.json'}")


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Any folder, any depth.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole intake as JSON on standard output.")] = False,
    include_identifiers: Annotated[
        bool, typer.Option(help="With --json: names, numbers and UIDs too. Off by default.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Parsing processes.", min=1)] = 2,
) -> None:
    """Say what a folder holds: every file and series, used, skipped or refused, each with its reason."""
    from medcam.readers import index as read_index

    with _progress() as progress:
        intake = read_index(folder, workers=workers, progress=progress.stage("reading headers"))
    if as_json:
        intake = intake if include_identifiers else intake.without_identifiers()
        sys.stdout.write(json.dumps(intake.to_dict(), indent=1) + "\n")
        return
    in_series = {path for one in intake.series for path in one.files}
    for record in intake.files:
        if record.reason is not None and record.path not in in_series:
            _say(f"{record.status:8} {record.path}  {record.reason}")
    for one in intake.series:
        _say(
            f"{one.status:8} {one.description} ({_count(len(one.files), 'file')})"
            + (f"  {one.reason}" if one.reason else "")
        )
    for name, counts in intake.counts().items():
        _say(f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))


@app.command()
def screen(
    folder: Annotated[Path, typer.Argument(help="A folder of images: any depth, no file ending assumed.")],
    out: Annotated[Path, typer.Option("--out", help="The results folder; a run that was stopped goes on here.")],
    pipeline: Pipelines = None,
    model: Annotated[
        list[str] | None, typer.Option(help="PIPELINE=BUNDLE: another model than the demonstration one.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Images or tiles per forward pass.", min=1)] = 8,
    workers: Annotated[int, typer.Option(help="Parsing and decoding processes.", min=1)] = 2,
    limit: Annotated[int | None, typer.Option(help="Stop after so many new series.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be scored, and score nothing.")] = False,
    force: Annotated[bool, typer.Option(help="Score again what is already there.")] = False,
    copy_pixels: Annotated[bool, typer.Option(help="Keep the source's pixels in the results folder.")] = False,
    assume_anatomy: AssumeAnatomy = None,
    uncertainty: Annotated[
        str | None, typer.Option(help="augmentation, dropout or none. Default: what the pipeline says.")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option(help="Let a bundle run code of its own. Only for bundles you made.")
    ] = False,
) -> None:
    """Score every series that a pipeline accepts, explain each score, and keep all of it in one results folder."""
    from medcam.screening import Options
    from medcam.screening import screen as run

    options = Options(
        pipelines=tuple(pipeline or ()),
        models=dict(_pair(text) for text in model or ()),
        device=device,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        dry_run=dry_run,
        force=force,
        copy_pixels=copy_pixels,
        assume_anatomy=assume_anatomy,
        uncertainty=uncertainty,
        trust_code=trust_code,
    )
    try:
        with _progress() as progress:
            outcome = run(folder, out, options, progress)
    except KeyboardInterrupt:
        message = "medcam: stopped. What is finished is kept; run the same command again to go on."
        typer.echo(message, err=True)
        raise typer.Exit(Exit.STOPPED) from None
    from medcam.tables import outcome_table

    _show(outcome_table(outcome))
    raise typer.Exit(_finish(outcome.incomplete and not dry_run))


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(help="An image, a cine or the folder of a series.")],
    model: Annotated[str, typer.Option(help="A bundle's folder, or module:factory of your own model.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the map (.nii.gz, .png) and its description (.json).")],
    method: Annotated[str, typer.Option(help="See medcam list methods.")] = "gradcam",
    target: Annotated[
        str, typer.Option(help="predicted, all, a label of the bundle, or the number of a class.")
    ] = "predicted",
    layer: Annotated[str, typer.Option(help="A module's name; auto takes the last map before pooling.")] = "auto",
    transform: Annotated[str | None, typer.Option(help="For a model that is not a medcam bundle.")] = None,
    trust_code: Annotated[bool, typer.Option(help="Needed for module:factory and for bundles that run code.")] = False,
) -> None:
    """Explain one image with one model, on the image's own grid."""
    from medcam.explaining import explain_file

    for path in explain_file(file, model, out, method, target, layer, transform, trust_code):
        _say(str(path))


@app.command()
def train(
    pipeline: Annotated[str, typer.Argument(help="The question to answer; see medcam list pipelines.")],
    data: Annotated[
        Path, typer.Option(help="The manifest: a CSV with at least the columns file, label and patient_id.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The bundle to make. The same command again goes on after a stop.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The network; see medcam list models. With video_... a whole cine has one label and with mil_... a "
            "whole exam of patches or slides (column exam), and attention says which frames or tiles it comes from."
        ),
    ] = "resnet18",
    size: Annotated[
        str | None, typer.Option(help="Pixels per axis, e.g. 160 or 160x192. Default: the pipeline's own.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help='Labels that mean the finding: "Infiltration,Pneumonia". Default: 1.')
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help='Labels that mean its absence: "No Finding". Default: 0. Others are left out.')
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help='Classes that exclude each other: "healthy; opacity=mass+pneumonia".')
    ] = None,
    multilabel: Annotated[
        str | None, typer.Option(help='Labels that may come together: "Mass, opacity=Infiltration+Pneumonia".')
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="COLUMN=VALUE: only these rows of the manifest; repeat for several.")
    ] = None,
    split_column: Annotated[
        bool, typer.Option("--split-column", help="Take the sides from the manifest's column split, not by chance.")
    ] = False,
    folds: Annotated[
        int, typer.Option(help="Cross-validate: OUT.folds gets a bundle for each fold and their table.", min=0)
    ] = 0,
    epochs: Annotated[int, typer.Option(help="At most so many times through the training images.", min=1)] = 15,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better validation AUROC; 0 never.", min=0)
    ] = 5,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images of one step, over all devices: 16; of video_... and mil_... cines or exams: 4.", min=1
        ),
    ] = None,
    per_bag: Annotated[
        int, typer.Option(help="Frames of a cine, or tiles of an exam, in a step: drawn anew every epoch.", min=1)
    ] = 32,
    learning_rate: Annotated[float, typer.Option(help="The highest of the schedule.")] = 1e-3,
    loss: Annotated[str, typer.Option(help="focal, which cares less about easy images, or cross-entropy.")] = "focal",
    gamma: Annotated[float | None, typer.Option(help="Of the focal loss: how much less. Default: 1.")] = None,
    alpha: Annotated[
        str, typer.Option(help="Weights of the classes in the loss: none, counts or effective (number).")
    ] = "none",
    sampler: Annotated[
        str, typer.Option(help="plain, or balanced: classes and their patients come equally often.")
    ] = "plain",
    label_smoothing: Annotated[float, typer.Option(help="Share of each label spread over all classes.")] = 0.0,
    dropout: Annotated[float, typer.Option(help="Share of features dropped before the output in training.")] = 0.0,
    curriculum: Annotated[
        bool, typer.Option("--curriculum", help="Low frequencies first (EfficientTrain): quicker early epochs.")
    ] = False,
    init: Annotated[
        Path | None, typer.Option(help="Weights to begin with, of medcam, torchvision, timm or MONAI. Default: random.")
    ] = None,
    sensitivity: Annotated[
        float | None, typer.Option(help="Choose the threshold for this sensitivity, e.g. 0.95. Default: Youden.")
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            help="From scores to probabilities: scaling, isotonic (at least 100 calibration patients), or auto: the "
            "better of both over folds of these patients."
        ),
    ] = "scaling",
    seed: Annotated[int, typer.Option(help="Of the split and of everything else that is left to chance.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, 32, bf16-mixed or 16-mixed (bits while training).")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes, or graphics cards, that share each batch.", min=1)] = 1,
    strategy: Annotated[str, typer.Option(help="auto or ddp: how several devices work together.")] = "auto",
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in 16 bits: half the size.")] = False,
    workers: Annotated[int, typer.Option(help="Decoding processes.", min=1)] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who would be on which side, and train nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew, and replace a bundle that is there.")] = False,
) -> None:
    """Train a model on a manifest, split by patient, and write a bundle with an honest model card.

    Training patients teach the network, validation patients choose its epoch, calibration patients its threshold and
    what its scores mean, and test patients, who serve for nothing else, say how good it is.
    Then: medcam screen FOLDER --out RESULTS --model PIPELINE=OUT
    """
    from medcam.training.bagging import usual_batch
    from medcam.training.curriculum import Curriculum
    from medcam.training.options import Options
    from medcam.training.settings import Settings
    from medcam.training.train import train as run

    settings = Settings(
        epochs=epochs,
        batch=batch_size or usual_batch(model),
        per_bag=per_bag,
        rate=learning_rate,
        gamma=_gamma(loss, gamma),
        alpha=_one_of("--alpha", alpha, {"none": "none", "counts": "counts", "effective": "effective"}),
        balance=_one_of("--sampler", sampler, {"plain": "none", "balanced": "patient"}),
        smoothing=label_smoothing,
        curriculum=Curriculum() if curriculum else None,
        patience=patience or None,
        precision=_one_of("--precision", precision, {name: name for name in ("auto", "32", "bf16-mixed", "16-mixed")}),
        devices=devices,
        strategy=_one_of("--strategy", strategy, {"auto": "auto", "ddp": "ddp"}),
        seed=seed,
    )
    options = Options(
        model=model,
        size=_size(size),
        dropout=dropout,
        initial=str(init or ""),
        positive=positive,
        negative=negative,
        classes=classes,
        multilabel=multilabel,
        where=dict(_pair(text, "--where", "COLUMN=VALUE") for text in where or ()),
        split_column=split_column,
        folds=folds,
        sensitivity=sensitivity,
        calibration=_one_of("--calibration", calibration, {name: name for name in ("scaling", "isotonic", "auto")}),
        half=half,
        workers=workers,
        settings=settings,
        dry_run=dry_run,
        force=force,
    )
    try:
        with _progress() as progress:
            outcome = run(pipeline, data, out, options, progress)
    except KeyboardInterrupt:
        message = "medcam: stopped. What is finished is kept; run the same command again to go on."
        typer.echo(message, err=True)
        raise typer.Exit(Exit.STOPPED) from None
    from medcam.tables import training_table

    _show(training_table(outcome))


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Annotated[
        Path, typer.Option(help="The manifest: a CSV with at least the columns file, label and patient_id.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html, evaluation.json and predictions.csv.")],
    positive: Annotated[
        str | None, typer.Option(help='Labels that mean the finding: "Infiltration,Pneumonia". Default: as trained.')
    ] = None,
    negative: Annotated[str | None, typer.Option(help='Labels that mean its absence: "No Finding".')] = None,
    classes: Annotated[
        str | None, typer.Option(help='Classes that exclude each other: "healthy; opacity=mass+pneumonia".')
    ] = None,
    multilabel: Annotated[
        str | None, typer.Option(help='Labels that may come together: "Mass, opacity=Infiltration+Pneumonia".')
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="COLUMN=VALUE: only these rows of the manifest; repeat for several.")
    ] = None,
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="Decoding processes.", min=1)] = 2,
    cache: Annotated[
        Path | None, typer.Option(help="Folder to keep prepared images in for the next run: pixels of patients.")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option(help="Let a bundle run code of its own. Only for bundles you made.")
    ] = False,
) -> None:
    """Measure a model on labelled patients it has not seen: figures with intervals, groups of patients, its errors."""
    from medcam.data.labelling import Labelling
    from medcam.evaluation.evaluate import Options
    from medcam.evaluation.evaluate import evaluate as run
    from medcam.models import read_card
    from medcam.scoring import choose_device

    words = {"positive": positive, "negative": negative, "classes": classes, "multilabel": multilabel}
    options = Options(
        where=dict(_pair(text, "--where", "COLUMN=VALUE") for text in where or ()),
        side=split,
        by=_one_of("--by", by, {level: level for level in ("image", "exam", "patient")}),
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
    with _progress() as progress:
        found = run(bundle, data, out, said, options, against=against, progress=progress)
    from medcam.tables import evaluation_table

    _show(evaluation_table(found))
    _say(f"{out / 'report.html'} shows all of it.")
    raise typer.Exit(_finish(any(row.code != "other-label" for row in found.left_out)))


@app.command()
def review(
    results: Annotated[Path, typer.Argument(help="A results folder.")],
    port: Annotated[int, typer.Option(help="On this machine only; nothing is reachable from outside.")] = 8501,
    source: Annotated[Path | None, typer.Option(help="Where the originals lie now, if they were moved.")] = None,
    hidden_first_read: Annotated[
        bool,
        typer.Option(help="For reader studies: show nothing of the AI before the reader has answered."),
    ] = False,
) -> None:
    """Open the reviewer in the browser: worklist, heatmaps beside originals, verdicts."""
    from medcam.review.server import serve

    raise typer.Exit(serve(results, port, source, hidden=hidden_first_read))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A results folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the reports.")],
    formats: Annotated[str, typer.Option("--format", help="Comma-separated; see medcam list reports.")] = "html,pdf",
    case: Annotated[list[str] | None, typer.Option(help="Only this case; repeat for several.")] = None,
    include_identifiers: Annotated[bool, typer.Option(help="Print who it is about. Off by default.")] = False,
    source: Annotated[Path | None, typer.Option(help="Where the originals lie now, if they were moved.")] = None,
) -> None:
    """Write reports of every case, with what reviewers said about it."""
    from medcam.reports import write_reports
    from medcam.results import Results

    found = Results.open(results, source)
    with _progress() as progress:
        wanted = [name.strip() for name in formats.split(",") if name.strip()]
        paths = write_reports(
            found, wanted, out, include_identifiers=include_identifiers, cases=case, progress=progress.stage("reports")
        )
    found.close()
    _say(f"{_count(len(paths), 'file')} in {out}")


@app.command()
def reproduce(
    protocol: Annotated[str, typer.Argument(help="A published study; see medcam list protocols.")],
    data: Annotated[Path, typer.Option(help="The folder of its data set, with manifest.csv.")],
    out: Annotated[Path, typer.Option("--out", help="The page of results (Markdown).")],
    work: Annotated[
        Path | None, typer.Option(help="Keeps networks and pixels; the same command goes on there. Default: OUT.work.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="As thorough as the paper: for machines with an accelerator.")
    ] = False,
) -> None:
    """Run a published study again, by its protocol, on its data, and write a page with what came out."""
    from medcam.protocols import SHELF
    from medcam.protocols.base import Setting, reproduce

    chosen = SHELF.load(protocol)()
    command = f"medcam reproduce {protocol} --data {data.name} --out {out.name}"
    with _progress() as progress:
        setting = Setting(data, work or out.with_name(f"{out.name}.work"), full, progress)
        reproduce(chosen, setting, out, command)
    _say(str(out))


@app.command("list")
def list_members(
    what: Annotated[str, typer.Argument(help="pipelines, methods, models, protocols, reports, readers, transforms")],
) -> None:
    """List the members of a shelf; each is one file."""
    from medcam.errors import UsageError
    from medcam.plugins import near
    from medcam.tables import member_table, shelves

    if what not in shelves():
        raise UsageError("unknown-shelf", f"There is nothing called {what!r} to list. {near(what, sorted(shelves()))}")
    _show(member_table(what))


def main() -> None:
    """Run the command line: one sentence for what goes wrong, never a traceback for what was foreseen."""
    try:
        app()
    except MedcamError as error:
        from medcam.tables import printable

        typer.echo(printable(f"medcam: {error}"), err=True)
        sys.exit(Exit.USAGE)


def _pair(text: str, option: str = "--model", form: str = "PIPELINE=BUNDLE") -> tuple[str, str]:
    from medcam.errors import UsageError

    name, sign, value = text.partition("=")
    if not sign or not value:
        raise UsageError(f"bad-{option.strip('-')}", f"{option} takes {form}, not {text!r}.")
    return name, value


def _one_of(option: str, word: str, known: dict[str, str]) -> Any:
    from medcam.errors import UsageError
    from medcam.plugins import near

    if word not in known:
        raise UsageError("bad-option", f"{option} does not know {word!r}. {near(word, list(known))}")
    return known[word]


def _gamma(loss: str, gamma: float | None) -> float:
    """Of the focal loss, which without it is cross-entropy."""
    from medcam.errors import UsageError

    if _one_of("--loss", loss, {"focal": "focal", "cross-entropy": "cross-entropy"}) == "focal":
        return 1.0 if gamma is None else gamma
    if gamma is not None:
        raise UsageError("bad-option", "--gamma belongs to --loss focal; leave one of them out.")
    return 0.0


def _size(text: str | None) -> tuple[int, ...]:
    from medcam.errors import UsageError

    try:
        return tuple(int(part) for part in text.split("x")) if text else ()
    except ValueError:
        raise UsageError("bad-size", f"--size takes numbers like 160 or 160x192, not {text!r}.") from None


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")


def _finish(incomplete: bool) -> int:
    return Exit.INCOMPLETE if incomplete else Exit.DONE


def _progress() -> Any:
    from medcam.progress import Progress

    return Progress()


def _say(text: str) -> None:
    from medcam.tables import printable

    typer.echo(printable(text))


def _show(table: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    main()
