"""What `screen` costs over the least that any program must do: decode every file, run the network on every image.

Bare: pydicom's pixels of each file, then the network in batches under `inference_mode` on inputs that were prepared
outside of the clock. Screened: everything, from an unread folder to a finished results folder. Same process, same files,
same weights and the same batches; libraries are imported and files are in the system's cache before the clock runs.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import torch
from torch import Tensor, nn

from medcam.models import load_bundle
from medcam.readers import Decoder, index
from medcam.screening import Options, Outcome, screen
from medcam.transforms import compose, prepare
from tests.benchmarks import inputs
from tests.benchmarks.measure import Row, cpu_seconds, interleaved, ratios, seconds, spread

LIMIT = "at most 1.5, aim 1.2"


@dataclass(frozen=True)
class Job:
    """Images, the pipeline that reads them, its model, and how many of them go through the network at once."""

    folder: Path
    pipeline: str
    bundle: Path
    batch: int

    def screened(self, out: Path) -> Outcome:
        """One whole screening into a new folder, which is then deleted."""
        options = Options(
            pipelines=(self.pipeline,),
            models={self.pipeline: str(self.bundle)},
            uncertainty="none",
            device="cpu",
            batch_size=self.batch,
        )
        try:
            return screen(self.folder, out, options)
        finally:
            shutil.rmtree(out)

    def inputs(self, scratch: Path) -> list[Tensor]:
        """What the network sees of each series: (1, C, *space)."""
        card = load_bundle(self.bundle).card
        scratch.mkdir()
        with Decoder() as decoder:
            tensors = [
                prepare(
                    decoder.pixels(series, scratch), compose(card.transform, series.facts, **card.transform_options)
                ).tensor
                for series in (record.series for record in index(self.folder).series)
                if series is not None
            ]
        shutil.rmtree(scratch)
        return tensors

    def decode(self) -> int:
        """The pixels of every file, one after the other; how many files."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        for path in files:
            _ = pydicom.dcmread(path).pixel_array
        return len(files)

    def forward(self, model: nn.Module, tensors: list[Tensor]) -> None:
        """Every input through the network, in batches."""
        with torch.inference_mode():
            for start in range(0, len(tensors), self.batch):
                model(torch.cat(tensors[start : start + self.batch]))


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """Both jobs; `quick` on a tenth of the images."""
    return [compare(job, folder, rounds) for job in (xray_job(folder, quick), ct_job(folder, quick))]


def xray_job(folder: Path, quick: bool) -> Job:
    """200 chest X-rays of 1024 x 1024, DenseNet121 at 320 x 320."""
    bundle = inputs.bundle(folder / "xray-bundle", "chest_xray_opacity", "DenseNet121", "xray", (320, 320))
    images = inputs.xrays(folder / "xrays", 20 if quick else 200, 1024)
    return Job(images, "chest_xray_opacity", bundle, 8)


def ct_job(folder: Path, quick: bool) -> Job:
    """10 chest CT series of 200 slices of 512 x 512, DenseNet121 at 96 x 96 x 96."""
    bundle = inputs.bundle(
        folder / "ct-bundle", "chest_ct_nodule", "DenseNet121", "ct", (96, 96, 96), spacing_mm=(3.5, 4.0, 4.0)
    )
    images = inputs.ct_series(folder / "ct", 2 if quick else 10, 200, 512)
    return Job(images, "chest_ct_nodule", bundle, 2)


def compare(job: Job, folder: Path, rounds: int) -> Row:
    """One job's ratio, and what it is made of.

    Raises:
        RuntimeError: the two sides did not do the same work.
    """
    model, tensors = load_bundle(job.bundle).model, job.inputs(folder / "scratch")
    out = folder / "results"

    def bare() -> None:
        job.decode()
        job.forward(model, tensors)

    with counted(type(model)) as rows_bare:
        bare()
    with counted(type(model)) as rows_screened:
        outcome = job.screened(out)
    if not len(outcome.rows) == sum(rows_bare) == sum(rows_screened) == len(tensors) or outcome.incomplete:
        raise RuntimeError(f"unequal work: {len(outcome.rows)} cases, {rows_bare} and {rows_screened} images")
    costs = interleaved({"bare": bare, "screened": lambda: job.screened(out)}, rounds)
    wall = {side: seconds(each) for side, each in costs.items()}
    cpu = {side: cpu_seconds(each) for side, each in costs.items()}
    shape = " x ".join(str(size) for size in tensors[0].shape[2:])
    what = f"{len(tensors)} {'volumes' if tensors[0].ndim == 5 else 'images'}, {type(model).__name__} at {shape}"
    details = f"screened {spread(wall['screened'], 1)} s, bare {spread(wall['bare'], 1)} s; "
    details += f"processor time of all cores: ratio {spread(ratios(cpu['screened'], cpu['bare']))}"
    return Row(f"screening of {what} over bare", spread(ratios(wall["screened"], wall["bare"])), LIMIT, details)


@contextmanager
def counted(network: type[nn.Module]) -> Iterator[list[int]]:
    """Within, the number of images in each batch that goes through a network of this class, traces of its shapes not counted."""
    rows: list[int] = []

    def count(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if type(module) is network and args[0].is_contiguous():  # a trace of shapes runs on an expanded zero
            rows.append(len(args[0]))

    handle = nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield rows
    finally:
        handle.remove()
