"""Training: manifest in, bundle out. The whole flow is on this page; each step lives in its own part.

plan: manifest → labels → a side for each patient → images, decoded once → leak guard
→ network → fit on training patients, stopped and chosen by validation patients
→ calibration, thresholds, conformal sets and support from calibration patients → figures on test patients
→ bundle with its model card
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medcam.data import leak
from medcam.data.bags import Bags
from medcam.data.confounders import Probe, probe
from medcam.data.dataset import LeftOut, load
from medcam.data.images import Images
from medcam.data.splits import Split
from medcam.evaluation.table import Scored
from medcam.models import Bundle
from medcam.progress import Progress
from medcam.reliability.support import hashed
from medcam.storage import storage_errors
from medcam.training.account import Account, Network, data_of, versions
from medcam.training.answers import ask, cine, series
from medcam.training.colours import full_colour
from medcam.training.figures import cases_of, figures
from medcam.training.learned import learn
from medcam.training.network import (
    ATTENTION,
    FRAMES_POOLING,
    class_map,
    explained_layer,
    new_network,
    of_series,
    tiles_pooling,
)
from medcam.training.options import Options
from medcam.training.plan import FLIPS, FRAMES_PER_SECOND, MOST_FRAMES, Plan, make_plan
from medcam.training.publish import blobs_of, card_of, hashes, publish
from medcam.training.run_folder import run_folder
from medcam.training.trainer import fit

PREDICTIONS = "test_predictions.csv"
"""In a run folder: what the model said about each test file, with patient ids beside the hashes that the card uses."""
PAIRS_SHOWN = 10


@dataclass(frozen=True)
class Trained:
    """One network, from its first weights to its bundle."""

    bundle: Bundle
    account: Account
    cases: Scored
    """What it said about its test patients, calibrated."""


@dataclass(frozen=True)
class Outcome:
    """What a training did."""

    plan: Plan
    trained: tuple[Trained, ...] = ()
    """One, or one for each fold; none of a dry run."""
    out: Path | None = None


@dataclass(frozen=True)
class Material:
    """What there is to train on."""

    images: Images
    left_out: tuple[LeftOut, ...]
    shortcuts: tuple[Probe, ...]
    warnings: tuple[str, ...]


def train(name: str, data: Path, out: Path, options: Options, progress: Progress | None = None) -> Outcome:
    """Train a model that answers a pipeline's question.

    A run that was stopped, however hard, goes on where it was when it is asked for again, to the same bundle.

    Args:
        name: of the pipeline.
        data: the manifest.
        out: the bundle. It appears when it is whole; until then everything is in `OUT.run`. With folds, the folder
            `OUT.folds` has a bundle for each fold and the table of all of them.
        options: see `Options`.
        progress: where long work is shown.

    Raises:
        UsageError: something in the manifest or the options cannot be meant; nothing was lost.
        TrainingError: the training cannot go on; what it did before is kept.
    """
    from medcam.training.crossval import cross_validate, folds_of

    progress = progress or Progress(quiet=True)
    plan = make_plan(name, data, options)
    if options.dry_run:
        return Outcome(plan)
    out = folds_of(out) if options.folds else out
    with run_folder(out, plan, options) as run:
        material = prepare(plan, options, run, progress)
        if options.folds:
            return Outcome(plan, tuple(cross_validate(plan, material, out, run, options, progress)), out)
        return Outcome(plan, (train_split(plan, plan.splits[0], material, out, run, options, progress),), out)


def prepare(plan: Plan, options: Options, run: Path, progress: Progress) -> Material:
    """Decode every image as screening does, and look for people who may be on two sides.

    Raises:
        UsageError: "patient-leak", "mixed-size", "mixed-colour" or "nothing-to-load".
    """
    images, left_out = load(
        plan.manifest,
        plan.labelling,
        plan.pipeline.transform,
        plan.transform_options,
        parts=plan.parts,
        frames_per_second=FRAMES_PER_SECOND,
        most_frames=MOST_FRAMES,
        cache=run / "cache",
        workers=options.workers,
        progress=progress.stage("decoding"),
    )
    for split in plan.splits:
        leak.check(split.of(images.patients), images.patients)
    pairs = leak.near_identical(images, images.patients)
    for pair in pairs[:PAIRS_SHOWN]:
        progress.say(f"one person under two names? {pair}")
    words = f"exams of different patients that look nearly the same, as one under two names would: {len(pairs)} pairs"
    shortcuts = probe(images, plan.manifest, seed=options.settings.seed)
    for one in shortcuts:
        if one.tells:
            progress.say(f"beware: {one}")
    return Material(images, left_out, shortcuts, (words,) if pairs else ())


def train_split(
    plan: Plan, split: Split, material: Material, out: Path, run: Path, options: Options, progress: Progress
) -> Trained:
    """Train, calibrate, measure and save one network.

    Args:
        plan: what is asked.
        split: who is on which side.
        material: the images of all sides.
        out: the bundle.
        run: where this network's training keeps what it has done.
    """
    images, cines = material.images, plan.parts == "frames"
    sides: dict[str, Any] = {side: images.subset(rows) for side, rows in split.indices(images.patients).items()}
    if plan.bag is not None:
        sides = {side: Bags(single, plan.bag) for side, single in sides.items()}
    settings = options.settings
    if not settings.flips:
        settings = replace(settings, flips=FLIPS.get(plan.pipeline.transform, ()))
    network, definition, initial = new_network(plan, images.shape[0], options)
    fitted = fit(network, sides["training"], sides["validation"], settings, run / "fit", progress, resume=True)
    if options.half:
        network.half().float()  # what follows must see the weights that are kept
    whole, definition = of_series(plan, network, definition)
    pooling = tiles_pooling(plan, tiled=bool(images.parts.any()))
    several = cines or plan.bag is not None
    first = cine(images, series(images)[0]) if several else images[0]["image"][None]
    layer = explained_layer(whole, first)
    shown = class_map(whole) if plan.bag is not None and layer != "auto" else layer
    whole.to("cuda" if torch.cuda.is_available() else "cpu")
    told = {
        side: ask(whole, layer, sides[side], plan, pooling, settings.batch, progress.stage(f"{side} patients"))
        for side in ("training", "calibration", "test")
    }
    cuts = (options.miscoverage, options.sensitivity, plan.salt, options.calibration)
    learned = learn(told["training"], told["calibration"], *cuts)
    card = card_of(plan, learned, shown if plan.bag is not None else told["calibration"].layer, pooling)
    colours = full_colour(
        Bundle(whole, card, out), sides["calibration"], told["calibration"], learned, plan.label, cines
    )
    card = replace(card, full_colour=colours)
    whole.cpu()
    blobs = blobs_of(learned, split.table(plan.salt), fitted.curves())
    weights_sha256, blobs_sha256 = hashes(whole, blobs, options.half)
    account = Account(
        pipeline=plan.name,
        question=plan.pipeline.question,
        finding=plan.pipeline.finding,
        labels=plan.labelling.names,
        data=data_of(plan, split, material.left_out, material.warnings, options),
        shortcuts=material.shortcuts,
        network=Network(
            name=options.model,
            definition=definition,
            parameters=sum(p.numel() for p in whole.parameters()),
            initial=initial,
            transform=card.transform,
            transform_options=card.transform_options,
            pooling=ATTENTION if plan.bag is not None else FRAMES_POOLING if cines else pooling,
            layer=card.layer,
            half=options.half,
        ),
        settings=settings,
        precision=fitted.precision,
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        seconds=fitted.seconds,
        calibration=learned.calibration,
        conformal=learned.conformal,
        support_cases=len(learned.support.cases),
        support_limit=learned.support.limit,
        figures=figures(told["test"], learned, plan.salt),
        versions=versions(),
        weights_sha256=weights_sha256,
        blobs_sha256=blobs_sha256,
    )
    bundle = publish(out, whole, card, account, plan, blobs, images.shape[0])
    with storage_errors(run):
        with_hashes(told["test"].calibrated(learned.calibration), plan.salt).write(run / PREDICTIONS)
    return Trained(bundle, account, cases_of(told["test"], learned))


def with_hashes(scored: Scored, salt: str) -> Scored:
    """With two columns more, by which the model card's errors and the support's neighbours can be found."""

    def column(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{hashed(salt, name):016x}" for name in names)

    columns = {**scored.columns, "hashed_file": column(scored.files), "hashed_patient": column(scored.patients)}
    return replace(scored, columns=columns)
