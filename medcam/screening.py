"""Screening: folder in, results folder out. The whole flow is on this page; each step lives in its own part.

index → select → for each pipeline: decode (subprocess) → prepare (thread) → score, explain, disturb (here)
                                    → regions, key images, case (thread) → results folder
"""

import contextlib
import errno
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medcam.casework import Answer, ModelFacts, build_case, model_facts
from medcam.errors import REASONS, InputError, MedcamError, ModelError, ResultsError, UsageError
from medcam.findings import Refusal, summary
from medcam.models import read_card
from medcam.outdating import outdated
from medcam.pipeline import Pipeline, shelf
from medcam.plugins import locate, near
from medcam.progress import Progress
from medcam.readers import Decoder, index
from medcam.results import Results
from medcam.selection import Declination, Task, select, study_of
from medcam.study import Intake, Pixels, Reason
from medcam.uncertainty import SHELF as DISTURBANCES

if TYPE_CHECKING:
    from medcam.scoring import Scorer
    from medcam.transforms import Prepared

MOST_VALUES = 1 << 21
"""Of one batch: eight pictures of 512 x 512, two volumes of 96 x 96 x 96. More would take memory and keep the model
waiting for them."""


@dataclass(frozen=True)
class Options:
    """What the command line can ask of a screening."""

    pipelines: tuple[str, ...] = ()
    """Names; all of them if empty."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Bundle folders by pipeline name, instead of what the pipeline names."""
    device: str = "auto"
    batch_size: int = 8
    workers: int = 2
    limit: int | None = None
    dry_run: bool = False
    force: bool = False
    copy_pixels: bool = False
    assume_anatomy: str | None = None
    uncertainty: str | None = None
    trust_code: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a screening did."""

    rows: tuple[dict[str, Any], ...]
    """One per case in the results folder that belongs to this folder's series, as `findings.summary`, with "new" and
    "calibrated"."""
    refusals: tuple[Refusal, ...]
    intake: Intake
    planned: tuple[str, ...] | None = None
    """What a dry run would have scored and refused, a line each."""
    outdated: tuple[str, ...] = ()
    """Keys of older cases whose source gave no result now."""
    seconds: float = 0.0

    @property
    def incomplete(self) -> bool:
        """Whether eligible files or series were refused or failed."""
        files = self.intake.counts()["files"]["refused"]
        return files > 0 or any(refusal.status in ("refused", "failed") for refusal in self.refusals)


@dataclass(frozen=True)
class _Ready:
    """A series on its way: decoded and prepared."""

    task: Task
    pixels: Pixels
    prepared: "Prepared"


def screen(folder: Path, out: Path, options: Options | None = None, progress: Progress | None = None) -> Outcome:
    """Score and explain every series of a folder that a pipeline accepts.

    A series that fails is recorded with its reason and the run goes on. A run that was stopped, however hard, goes on
    where it was. What is already there for the same files, pipeline and model is not done again.

    Args:
        folder: images, any depth.
        out: the results folder, new or from an earlier run.
        options: see `Options`.
        progress: where long work is shown.

    Raises:
        UsageError: the folder, the results folder or an option is not usable; nothing was lost.
    """
    options, progress = options or Options(), progress or Progress(quiet=True)
    begun = time.monotonic()
    pipelines = _pipelines(options)
    bundles = {name: bundle_folder(options.models.get(name, pipeline.model)) for name, pipeline in pipelines.items()}
    models = {name: _facts(bundles[name], name, pipeline) for name, pipeline in pipelines.items()}
    if not os.path.exists(folder):  # noqa: PTH110  # Path.exists raises where a parent may not be entered
        raise UsageError("no-folder", f"{folder} does not exist or may not be entered; give a folder of images.")
    if options.dry_run:
        intake = _read(folder, None, options, progress, ())
        return Outcome((), (), intake, _plan(*select(intake, pipelines, options.assume_anatomy)))
    with Results.writer(out) as results, contextlib.ExitStack() as stack:
        decoders = [stack.enter_context(Decoder()) for _ in range(options.workers)]  # each starts at its first file
        intake = _read(folder, out, options, progress, decoders)
        tasks, declined = select(intake, pipelines, options.assume_anatomy)
        refusals = [_declined(results, one) for one in declined]
        results.keep_intake(intake)
        results.forget_refusals()
        results.refuse(refusals)
        old = list(outdated(results, intake, pipelines, tasks, declined))
        for key, reason in old:
            results.outdate(key, reason)
        with _Run(results, options, progress, decoders) as run:
            for name, pipeline in pipelines.items():
                run.pipeline(pipeline, bundles[name], models[name], [task for task in tasks if task.pipeline == name])
        gone = tuple(dict.fromkeys([*(key for key, _ in old), *run.outdated]))
        took = time.monotonic() - begun
        return Outcome(tuple(run.rows), (*refusals, *run.failed), intake, outdated=gone, seconds=took)


class _Run(contextlib.ExitStack):
    """One screening into one results folder: what decodes, prepares and stores while the model works."""

    def __init__(self, results: Results, options: Options, progress: Progress, decoders: Sequence[Decoder]) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.failed: list[Refusal] = []
        self.outdated: list[str] = []
        self._results, self._options, self._progress, self._decoders = results, options, progress, decoders
        self._left = options.limit
        self._scratch = results.folder / "staging" / "decoded"
        self._scratch.mkdir(exist_ok=True)
        self.callback(shutil.rmtree, self._scratch, ignore_errors=True)
        self._preparing = self.enter_context(ThreadPoolExecutor(1, "medcam-prepare"))
        self._storing = self.enter_context(ThreadPoolExecutor(1, "medcam-store"))

    def pipeline(self, pipeline: Pipeline, bundle: Path, model: ModelFacts, tasks: list[Task]) -> None:
        """Answer one question about all the series that it is asked about."""
        options = self._options
        todo = [task for task in tasks if options.force or not self._known(task, pipeline, model)][: self._left]
        if not todo:
            return
        loading = self._preparing.submit(_load, pipeline, bundle, options)  # while the first series are decoded
        if self._left is not None:
            self._left -= len(todo)
        tick, done = self._progress.stage(todo[0].pipeline), 0
        stored: deque[Future[None]] = deque()
        for batch in _batches(self._ready(todo, loading), options.batch_size):
            scorer = loading.result()
            for ready, answer in self._answers(batch, scorer):
                stored.append(self._storing.submit(self._store, ready, pipeline, scorer, answer))
            done += len(batch)
            tick(done, len(todo))
            while len(stored) > options.batch_size:
                stored.popleft().result()
        for future in stored:
            future.result()
        if done < len(todo):  # some failed before the model saw them
            tick(len(todo), len(todo))

    def _known(self, task: Task, pipeline: Pipeline, model: ModelFacts) -> bool:
        """Whether this was answered before, by this pipeline and model, about these very files."""
        key = self._results.case_key(task.series, task.pipeline)
        if not self._results.finished(key, pipeline.digest(model.settings), model.sha256, task.series):
            return False
        self.rows.append({**self._results.summary(key), "new": False, "calibrated": model.calibrated})
        return True

    def _ready(self, tasks: Sequence[Task], loading: "Future[Scorer]") -> Iterator[_Ready]:
        """Series decoded and prepared, in order, a few ahead of the model."""
        ahead: deque[Future[_Ready | None]] = deque()
        for task, decoder in zip(tasks, cycle(self._decoders), strict=False):
            decoding = decoder.submit(task.series, self._scratch)
            ahead.append(self._preparing.submit(self._prepare, task, decoding, loading))
            if len(ahead) > self._options.batch_size + self._options.workers:
                ready = ahead.popleft().result()
                if ready is not None:
                    yield ready
        for future in ahead:
            ready = future.result()
            if ready is not None:
                yield ready

    def _prepare(self, task: Task, decoding: "Future[Pixels]", loading: "Future[Scorer]") -> _Ready | None:
        scorer, pixels = loading.result(), None  # a model that cannot be loaded ends the run
        with self._one_failure(task, "preparation-failed"):
            pixels = decoding.result()
            return _Ready(task, pixels, scorer.prepare(task.series, pixels))
        if pixels is not None:
            _discard(pixels)
        return None

    def _answers(self, batch: list[_Ready], scorer: "Scorer") -> Iterator[tuple[_Ready, Answer]]:
        """Scores and maps of a batch; if it fails as a whole, one by one, so that a bad series stops no other."""
        if len(batch) > 1:
            with contextlib.suppress(Exception):
                answers = scorer.answers([ready.prepared for ready in batch], [_patient(ready) for ready in batch])
                yield from zip(batch, answers, strict=True)
                return
        for ready in batch:
            answer = None
            with self._one_failure(ready.task, "model-failed"):
                answer = scorer.answers([ready.prepared], [_patient(ready)])[0]
            if answer is not None:
                yield ready, answer
            else:
                _discard(ready.pixels)

    def _store(self, ready: _Ready, pipeline: Pipeline, scorer: "Scorer", answer: Answer) -> None:
        with self._one_failure(ready.task, "storage-failed"):
            case, pictures = build_case(
                self._results, ready.task, pipeline, scorer.facts, answer, ready.pixels, scorer.device
            )
            copy = ready.pixels if self._options.copy_pixels else None
            self._results.add(case, ready.task.series, pictures, copy)
            self.rows.append({**summary(case), "new": True, "calibrated": scorer.facts.calibrated})
        _discard(ready.pixels)

    @contextlib.contextmanager
    def _one_failure(self, task: Task, code: str) -> Iterator[None]:
        """Turn whatever goes wrong with one series into its recorded reason; only a full disk stops the run."""
        try:
            yield
        except ResultsError:
            raise
        except Exception as error:  # one bad study never stops the run
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = Reason(
                error.code if isinstance(error, MedcamError) and error.code in REASONS else code, _said(error, task)
            )
            status: Literal["refused", "failed"] = "refused" if isinstance(error, InputError) else "failed"
            key, series = self._results.study_key(task.series), self._results.series_key(task.series)
            refusal = Refusal(key, series, task.pipeline, _words(task), status, reason)
            self.failed.append(refusal)
            self._results.refuse([refusal])
            case = self._results.case_key(task.series, task.pipeline)
            if self._results.outdate(case, reason):
                self.outdated.append(case)


def _load(pipeline: Pipeline, bundle: Path, options: Options) -> "Scorer":
    from medcam.scoring import Scorer  # torch and MONAI: not before there is something to score

    return Scorer(pipeline, bundle, options.device, options.batch_size, options.trust_code)


def bundle_folder(name: str) -> Path:
    """A demonstration bundle by its name, or any bundle's own folder.

    Raises:
        UsageError: there is neither.
    """
    shipped = locate("sample_data") / "bundles" / name
    for folder in (shipped, Path(name)):
        if (folder / "configs").is_dir():
            return folder
    raise UsageError("no-model", f"There is no bundle {name!r}; give the folder of a MONAI Bundle.")


def _facts(bundle: Path, name: str, pipeline: Pipeline) -> ModelFacts:
    """What is known of a model before it is loaded: it was made for this question, or names its finding."""
    card = read_card(bundle)
    if pipeline.finding not in card.labels and (len(card.labels) > 1 or card.pipeline != name):
        known = ", ".join(card.labels)
        message = f"The bundle {card.name} knows {known}, not {pipeline.finding!r}; it cannot answer {name}."
        raise ModelError("bundle-labels", message)
    return model_facts(bundle, card)


def _patient(ready: _Ready) -> str:
    return ready.task.series.identifiers.patient_id


def _pipelines(options: Options) -> dict[str, Pipeline]:
    """The chosen pipelines; everything in the options that names something is checked before any work is done."""
    known = shelf()
    names = list(options.pipelines) or known.names()
    for name in options.models:
        if name not in names:
            raise UsageError("bad-model", f"--model names {name!r}. {near(name, names)}")
    pipelines = {name: known.load(name) for name in names}
    if options.assume_anatomy is not None:
        words = sorted({pipeline.accepts.anatomy for pipeline in pipelines.values()})
        if options.assume_anatomy.lower() not in words:
            message = f"No chosen pipeline asks about the anatomy {options.assume_anatomy!r}."
            raise UsageError("bad-anatomy", f"{message} {near(options.assume_anatomy.lower(), words)}")
    if options.uncertainty is None:
        return pipelines
    if options.uncertainty not in ("none", *DISTURBANCES.names()):
        message = f"There is no uncertainty {options.uncertainty!r}."
        raise UsageError(
            "unknown-disturbance", f"{message} {near(options.uncertainty, ['none', *DISTURBANCES.names()])}"
        )
    return {name: replace(pipeline, uncertainty=options.uncertainty) for name, pipeline in pipelines.items()}


def _read(folder: Path, out: Path | None, options: Options, progress: Progress, decoders: Sequence[Decoder]) -> Intake:
    """The intake of a folder that holds at least one image, good or bad."""
    cache = out / "identifiers-headers.sqlite" if out is not None else None
    without = (out,) if out is not None else ()
    tick = progress.stage("headers")
    intake = index(folder, cache=cache, workers=options.workers, decoders=decoders, progress=tick, without=without)
    if not intake.series and not any(record.status == "refused" for record in intake.files):
        raise UsageError(
            "no-images", f"{folder} holds no image that medcam can read (other files: {len(intake.files)})."
        )
    return intake


def _batches(ready: Iterator[_Ready], size: int) -> Iterator[list[_Ready]]:
    """Neighbours of equal shape together; the tiles of a slide are a batch of their own."""
    batch: list[_Ready] = []
    for one in ready:
        shape = tuple(one.prepared.tensor.shape)
        if batch and tuple(batch[0].prepared.tensor.shape) != shape:
            yield batch
            batch = []
        batch.append(one)
        if shape[0] > 1 or len(batch) == size or (len(batch) + 1) * one.prepared.tensor.numel() > MOST_VALUES:
            yield batch
            batch = []
    if batch:
        yield batch


def _plan(tasks: list[Task], declined: list[Declination]) -> tuple[str, ...]:
    scored = [f"would score   {task.pipeline}: {_words(task)}" for task in tasks]
    refused = [f"would refuse  {one.record.description}: {one.reason}" for one in declined if one.status == "refused"]
    return (*scored, *refused, f"would score {len(scored)} series and refuse {len(refused)}")


def _declined(results: Results, one: Declination) -> Refusal:
    study = results.pseudonym("study", *study_of(one.record))
    series = results.pseudonym("series", one.record.identifiers.series_uid, *one.record.files[:1])
    return Refusal(study, series, one.pipeline, one.record.description, one.status, one.reason)


def _words(task: Task) -> str:
    """A series in a few words that identify nobody."""
    count = len(task.series.frames)
    part = {"volume": f", {count} slices", "cine": f", {count} frames"}.get(task.series.kind, "")
    return f"{task.series.modality or 'image'} {task.series.kind}{part}"


def _said(error: Exception, task: Task) -> str:
    """The error's message without the paths that lead to a patient; only its kind if it was not foreseen."""
    if not isinstance(error, MedcamError):
        return type(error).__name__
    message = str(error.args[0])
    for file in task.series.files:
        message = message.replace(file.path, "the file").replace(str(Path(file.path).parent), "the folder")
    return message


def _discard(pixels: Pixels) -> None:
    """Delete the decoded values; a memory map that is still open keeps them alive where it must."""
    name = getattr(pixels.array, "filename", None)
    if name is not None:
        with contextlib.suppress(OSError):
            Path(name).unlink()
