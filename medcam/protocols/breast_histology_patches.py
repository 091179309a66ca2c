"""Patches of breast carcinoma (Cruz-Roa, 2014), tested on a patient of whom nothing was learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medcam.data.dataset import load
from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from medcam.data.splits import k_fold
from medcam.errors import UsageError
from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.performance import Performance, performance
from medcam.evaluation.table import Values
from medcam.models._network import build
from medcam.models._presets import preset
from medcam.protocols._frames import frame_logits
from medcam.protocols.base import Protocol, Setting
from medcam.training._markdown import table, told
from medcam.training.settings import Settings
from medcam.training.trainer import fit

Rows = npt.NDArray[np.intp]

LABELS = Labelling.binary("tumour", ["IDC"], ["non-IDC"])
MODEL = "resnet18"
BLOCK_PIXELS = 250
"""Side of the squares of a slide that are drawn for an interval; a patch has 50."""


class BreastHistologyPatches(Protocol):
    """Patches of breast carcinoma (Cruz-Roa, 2014), tested on a patient of whom nothing was learned.

    Only two patients of the data at hand have patches of both kinds. Each is tested by a network of the other and of
    the patients with one kind; beside it stands what a split of patches, whosever they are, would have claimed.
    """

    name = "breast_histology_patches"
    paper = (
        "Cruz-Roa et al., SPIE Medical Imaging 2014: 162 patients, 113 slides for training and 49 for testing, "
        "F-measure 0.718 and balanced accuracy 0.842 (its abstract). No comparison possible: two patients are tested "
        "here, and eight are there at all."
    )
    data = (
        "IDC patches (Cruz-Roa et al. 2014; Janowczyk and Madabhushi 2016; the Kaggle copy is tagged CC0): breast, "
        "H&E, 50 by 50 pixels, 40x slides made 16 times smaller. Truth is by patch, drawn at low power, not exact to "
        "the cell; some patches at a border are smaller. Of one slide all patches are there, of the others a choice."
    )

    epochs, per_epoch = 8, 768
    network: Mapping[str, Any] = {"widths": [32, 64, 128, 256]}
    """Arguments of the architecture, in place of what its name means."""

    def run(self, setting: Setting) -> Sequence[str]:
        settings = Settings(
            epochs=3 * self.epochs if setting.full else self.epochs, per_epoch=self.per_epoch, patience=None,
            keep="last", gamma=1.0, balance="image", flips=(0, 1),
        )  # fmt: skip
        images, blocks = _patches(setting.data / "manifest.csv", setting)
        mixed = mixed_patients(images)
        if len(mixed) < 2:
            raise UsageError("too-few-patients", f"{len(mixed)} patients have patches of both kinds; two are needed.")
        owners = np.array(images.patients)
        by_patient, by_patch = np.zeros(len(images)), np.zeros(len(images))
        for number, patient in enumerate(mixed, start=1):
            test = np.flatnonzero(owners == patient)
            by_patient[test] = self._held_out(images, test, settings, setting, f"patient_{number}")
        loose = images.subset(range(len(images)))
        loose.patients = [f"patch {number}" for number in range(len(images))]  # what such a split believes
        for number, split in enumerate(k_fold(loose.patients, loose.targets, 2, settings.seed, within={}), start=1):
            test = split.indices(loose.patients)["test"]
            by_patch[test] = self._held_out(loose, test, settings, setting, f"patches_{number}")
        dark = np.array([-float(images.pixels(i).mean()) for i in range(len(images))])
        tests = [_Test(images, blocks, np.flatnonzero(owners == patient), patient) for patient in mixed]
        scores = {"patient": by_patient, "patches at random (leaks)": by_patch, "nothing learned: darkness": dark}
        return [_material(images, settings), _tested(tests, scores), _proves(tests, by_patient, by_patch)]

    def _held_out(self, images: Images, test: Rows, settings: Settings, setting: Setting, name: str) -> Values:
        """Probabilities of the patches `test`, by a network that learned from all others and kept its last epoch."""
        rest = np.setdiff1d(np.arange(len(images)), test)
        definition = preset(MODEL, in_channels=images.shape[0], size=images.shape[1:], **self.network)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            network = build({"network_def": definition})
        setting.progress.say(f"{name}: {len(rest)} patches to learn from, {len(test)} to test")
        folder = setting.work / name
        fit(network, images.subset(rest), images.subset(test), settings, folder, setting.progress, resume=True)
        probabilities: Values = 1 / (1 + np.exp(-frame_logits(network, images.subset(test))[:, 0]))
        return probabilities


@dataclass(frozen=True)
class _Test:
    """The patches of one patient."""

    images: Images
    blocks: npt.NDArray[np.str_]
    rows: Rows
    patient: str

    def figures(self, scores: Values, cut: float) -> Performance:
        """Of scores (N,) of all patches."""
        blocks = self.blocks[self.rows].tolist()
        targets = self.images.targets[self.rows, 0]
        return performance("tumour", targets, scores[self.rows], blocks, cut, bootstrap=Bootstrap(blocks))


def _patches(path: Path, setting: Setting) -> tuple[Images, npt.NDArray[np.str_]]:
    """The patches, and of each the square of its slide (N,)."""
    manifest = Manifest.read(path, {"file": "idc/*"})
    images, _ = load(
        manifest,
        LABELS,
        "histology",
        {"size": [64, 64]},
        cache=setting.work / "cache",
        progress=setting.progress.stage("decoding"),
    )
    places = [manifest.rows[row].columns["box_or_mask"] for row in images.rows]
    return images, np.array([block_of(patient, place) for patient, place in zip(images.patients, places, strict=True)])


def block_of(patient: str, place: str) -> str:
    """The square of the slide in which a patch begins, from "slide_xywh=x,y,width,height"."""
    x, y = (int(number) // BLOCK_PIXELS for number in place.removeprefix("slide_xywh=").split(",")[:2])
    return f"{patient} {x},{y}"


def mixed_patients(images: Images) -> list[str]:
    """Patients who have patches of both kinds, in the order of their names."""
    sick = images.targets[:, 0] > 0.5
    has = {patient: {bool(s) for s, p in zip(sick, images.patients, strict=True) if p == patient} for patient in
           set(images.patients)}  # fmt: skip
    return sorted(patient for patient, kinds in has.items() if len(kinds) == 2)


def _material(images: Images, settings: Settings) -> str:
    rows = []
    owners, sick = np.array(images.patients), images.targets[:, 0] > 0.5
    for number, patient in enumerate(sorted(set(images.patients)), start=1):
        own = owners == patient
        rows.append((f"{number}: {patient}", int((own & sick).sum()), int((own & ~sick).sum())))
    return f"""## Material

{table(("Patient", "Patches with carcinoma", "Patches without"), rows)}

{MODEL} with half of its channels, random first weights, {images.shape[1]} px, {settings.epochs} epochs of \
{settings.per_epoch} patches drawn so that both kinds come equally often, the last epoch kept, focal loss with gamma \
{settings.gamma:g}, patches shifted, zoomed, turned, mirrored and made noisier, seed {settings.seed}; the same for \
every split."""


def _tested(tests: Sequence[_Test], scores: Mapping[str, Values]) -> str:
    rows = []
    for test in tests:
        for name, score in scores.items():
            of = test.figures(score, 0.5)
            at = of.at_threshold
            decided = [told(at["balanced_accuracy"]), told(at["f1"])] if "darkness" not in name else ["", ""]
            rows.append((test.patient, of.cases, name, told(of.auroc), told(of.average_precision), *decided))
    header = ("Tested on", "Patches", "Split by", "AUROC", "Average precision", "Balanced accuracy at 0.5", "F1 at 0.5")
    return f"""## What came out

{table(header, rows)}

Split by patient: nothing of the tested patient was learned. Split by patches: two random halves, each tested by the \
network of the other, so that neighbours on one slide are on both sides; of how many patches a network learned differs \
between the splits, so that the difference is not the leak's alone. Darkness is the mean of a patch's pixels. \
Brackets: {BLOCK_PIXELS} by {BLOCK_PIXELS} pixel squares of this slide were drawn, as neighbours resemble each other. \
They tell of other patches of this patient, **not of other patients**."""


def _proves(tests: Sequence[_Test], by_patient: Values, by_patch: Values) -> str:
    values = [[test.figures(score, 0.5).auroc.value or 0.0 for test in tests] for score in (by_patient, by_patch)]
    gap = " and ".join(f"{patch - patient:+.3f}" for patient, patch in zip(*values, strict=True))
    return f"""## What {len(tests)} mixed patients can and cannot prove

- They can show a failure: a network that is wrong on one of two patients is no network for patients.
- They can show a leak: on the same patches the split by patches claims an AUROC that differs by \
{gap}, a part of which is the number of patches learned from.
- They cannot show how good it is on patients. Drawing {len(tests)} patients with replacement has three different \
outcomes, so there is no interval. That both AUROCs exceed 0.5 happens to a coin once in four times.
- They cannot choose a threshold or calibrate a score: no third mixed patient is left to do so.
- A patient with patches of one kind only teaches the stain of that slide together with the kind. None of them can be \
tested by AUROC.
- Slides of one laboratory and one scanner say nothing about others."""
