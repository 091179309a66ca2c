"""medcam train: a manifest in, a bundle out."""

from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._options import Classes, Manifest, MultiLabel, Where
from medcam.cli._terminal import progress_bars, show, stoppable
from medcam.cli._words import gamma_of, one_of, pairs, size_of


def train(
    pipeline: Annotated[str, typer.Argument(help="The question to answer; see medcam list pipelines.")],
    data: Manifest,
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
    classes: Classes = None,
    multilabel: MultiLabel = None,
    where: Where = None,
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
        gamma=gamma_of(loss, gamma),
        alpha=one_of("--alpha", alpha, {"none": "none", "counts": "counts", "effective": "effective"}),
        balance=one_of("--sampler", sampler, {"plain": "none", "balanced": "patient"}),
        smoothing=label_smoothing,
        curriculum=Curriculum() if curriculum else None,
        patience=patience or None,
        precision=one_of("--precision", precision, {name: name for name in ("auto", "32", "bf16-mixed", "16-mixed")}),
        devices=devices,
        strategy=one_of("--strategy", strategy, {"auto": "auto", "ddp": "ddp"}),
        seed=seed,
    )
    options = Options(
        model=model,
        size=size_of(size),
        dropout=dropout,
        initial=str(init or ""),
        positive=positive,
        negative=negative,
        classes=classes,
        multilabel=multilabel,
        where=pairs(where, "--where", "COLUMN=VALUE"),
        split_column=split_column,
        folds=folds,
        sensitivity=sensitivity,
        calibration=one_of("--calibration", calibration, {name: name for name in ("scaling", "isotonic", "auto")}),
        half=half,
        workers=workers,
        settings=settings,
        dry_run=dry_run,
        force=force,
    )
    with stoppable(), progress_bars() as progress:
        outcome = run(pipeline, data, out, options, progress)
    from medcam.tables import training_table

    show(training_table(outcome))
