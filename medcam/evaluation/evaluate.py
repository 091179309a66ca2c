"""`evaluate`: a bundle on the patients of a manifest, from files to figures, table and page."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medcam import __version__
from medcam.data.confounders import probe
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from medcam.errors import ModelError
from medcam.evaluation import analysis
from medcam.evaluation.aggregation import check
from medcam.evaluation.answers import Answers, Options, answers
from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.caveats import caveats
from medcam.evaluation.cohort import Cohort, cohort
from medcam.evaluation.comparison import Comparison
from medcam.evaluation.coverage import coverage
from medcam.evaluation.doubt import Doubt, one_minus_two_sigma
from medcam.evaluation.meaning import meaning
from medcam.evaluation.outcome import Evaluation, LeftOutRow, Model
from medcam.evaluation.overall import overall
from medcam.evaluation.page import page
from medcam.evaluation.prediction import deviations, outputs
from medcam.evaluation.referral import referrals
from medcam.evaluation.screened import Series, disturbance, screened
from medcam.evaluation.screened import write as write_screened
from medcam.evaluation.worst import pick, pictures
from medcam.models import load_bundle
from medcam.progress import Progress
from medcam.reliability.conformal import BLOB as CONFORMAL
from medcam.reliability.conformal import Conformal
from medcam.storage import storage_errors, write
from medcam.uncertainty import SHELF

__all__ = ["Options", "evaluate"]

RECORD, TABLE, IMAGES, PAGE = "evaluation.json", "predictions.csv", "images.csv", "report.html"
SCREENED = "screening.csv"


def evaluate(
    folder: Path | str,
    data: Path | str,
    out: Path | str,
    labelling: Labelling | None = None,
    options: Options | None = None,
    *,
    against: Path | str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a bundle and write evaluation.json, predictions.csv, screening.csv and report.html.

    Args:
        folder: the bundle.
        data: the manifest.
        out: a folder; files of these names in it are replaced.
        labelling: what the manifest's labels mean to the model; by default what they meant when it was trained, or 0
            and 1.
        options: how.
        against: a second bundle, compared on the same patients.
        progress: what shows how far it is.

    Raises:
        UsageError: the manifest cannot be used; "patient-leak", the model learned from everybody in it.
        ModelError: a bundle cannot be loaded; "bundle-labels", its labels are others.
        ResultsError: `out` cannot be written or is full.
    """
    began, chosen, shown, out = time.monotonic(), options or Options(), progress or Progress(quiet=True), Path(out)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    check(chosen.rule or "max")
    for method in (*chosen.uncertainty, *([chosen.disturbance] if chosen.disturbance not in ("", "none") else [])):
        SHELF.load(method)
    bundles = [load_bundle(f, device=chosen.device, trust_code=chosen.trust_code) for f in (folder, against) if f]
    manifest = Manifest.read(data, chosen.where)
    meant = meaning(bundles[0], labelling, (row.label for row in manifest.rows))
    for bundle in bundles:
        outputs(bundle, meant)  # before anything is decoded
    mine, told = cohort(manifest, bundles[:1], chosen.side, chosen.where)
    seen = answers(bundles[0], mine, meant, chosen, shown)
    compared: list[Comparison] = []
    if against is not None:
        both, _ = cohort(manifest, bundles, chosen.side, chosen.where)
        compared = _compare(seen, answers(bundles[1], both, meant, chosen, shown), chosen)
    asked, method = _screened(seen, chosen, shown)
    found, png = _figures(seen, told, chosen, shown)
    evaluation = replace(
        found,
        referrals=tuple(referrals(asked, method, chosen.draws, chosen.seed)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        manifest_sha256=hashlib.sha256(Path(data).read_bytes()).hexdigest(),
        labelling=_meaning(meant),
        against=Model.of(bundles[1]) if against is not None else None,
        comparisons=tuple(compared),
        seconds=time.monotonic() - began,
    )
    with storage_errors(out):
        _whole(out / TABLE, analysis.with_decisions(seen.cases, seen.decisions).write)
        for name in (IMAGES, SCREENED):  # of an earlier run
            (out / name).unlink(missing_ok=True)
        if asked:
            _whole(out / SCREENED, lambda part: write_screened(asked, part))
        if len(seen.scored) != len(seen.cases):
            _whole(out / IMAGES, seen.scored.write)
        record = json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n"
        _whole(out / RECORD, lambda part: write(part, record.encode()))
        _whole(out / PAGE, lambda part: write(part, page(evaluation, png).encode()))
    return evaluation


def _figures(seen: Answers, told: Cohort, options: Options, progress: Progress) -> tuple[Evaluation, tuple[bytes, ...]]:
    """All figures of one bundle, and its pictures."""
    cases, decisions = seen.cases, seen.decisions
    bootstrap = Bootstrap(cases.patients, draws=options.draws, seed=options.seed)
    probes = probe(seen.images, seen.manifest)
    results = analysis.label_results(cases, seen.scored, decisions, bootstrap, probes, seen.single)
    left_out = tuple(LeftOutRow(one.line, one.code) for one in seen.left_out)
    model, calibrated = Model.of(seen.bundle), decisions.calibration is not None
    content = seen.bundle.blob(CONFORMAL)
    conformal = None if content is None else Conformal.from_bytes(content)
    whole = conformal is not None and conformal.labels == cases.labels
    picked = pick(cases, decisions, options.worst)
    shown = pictures(picked, cases, seen.keys, seen.bundle, seen.images, seen.scored)
    evaluation = Evaluation(
        medcam=__version__,
        created="",
        seconds=0.0,
        model=model,
        cohort=told,
        manifest_sha256="",
        left_out=left_out,
        labelling={},
        level=options.by,
        aggregation=seen.rule,
        images=len(seen.scored),
        cases=len(cases),
        patients=bootstrap.patients,
        score_name=decisions.score_name,
        draws=options.draws,
        seed=options.seed,
        caveats=tuple(caveats(model, told, left_out, results, calibrated, options.by)),
        labels=tuple(results),
        overall=overall(
            cases.targets, cases.probabilities, decisions.flagged(cases), bootstrap, exclusive=cases.head == "softmax"
        ),
        referrals=(),
        doubts=(*analysis.doubts(cases, decisions, bootstrap), *_disturbed(seen, options, progress)),
        coverage=tuple(coverage(conformal, cases)) if conformal is not None and whole else (),
        worst=shown.cases,
        explained=shown.explained,
        against=None,
        comparisons=(),
    )
    return evaluation, shown.png


def _screened(seen: Answers, options: Options, progress: Progress) -> tuple[list[Series], str]:
    """Every series as screening would decide it, and what measured its doubt; none where frames are scored singly."""
    if options.frames:
        return [], ""
    method = options.disturbance or disturbance(seen.bundle)
    tick = progress.stage("deciding as screening does")
    batch = min(options.batch_size, 8)  # eight changed copies of each, and their gradients
    return screened(seen.bundle, seen.images, seen.manifest, method, batch, tick), method


def _disturbed(seen: Answers, options: Options, progress: Progress) -> list[Doubt]:
    """Confidence from each disturbance, over single images or frames, beside the score's own."""
    if not options.uncertainty:
        return []
    rows = seen.single.apply(seen.scored)
    bootstrap = Bootstrap(rows.patients, draws=options.draws, seed=options.seed)
    alone = len(rows) == len(seen.cases)
    confidences = {} if alone else analysis.own_confidence(rows, seen.single)
    for method in options.uncertainty:
        stage = progress.stage(f"uncertainty by {method}")
        spread = deviations(seen.bundle, seen.images, method, seed=options.seed, progress=stage)
        confidences[method] = one_minus_two_sigma(spread)
    found = analysis.doubts(rows, seen.single, bootstrap, confidences)
    return found if alone else [replace(one, what=f"{one.what}, single images or frames") for one in found]


def _compare(first: Answers, second: Answers, options: Options) -> list[Comparison]:
    """Both bundles on the cases that both could score."""
    places = {key: row for row, key in enumerate(zip(second.cases.files, second.cases.patients, strict=True))}
    common = [
        (row, places[key])
        for row, key in enumerate(zip(first.cases.files, first.cases.patients, strict=True))
        if key in places
    ]
    if not common:
        raise ModelError(
            "nothing-to-compare", "No patient is left that neither model learned from; leave --against out."
        )
    mine, other = (np.array(rows) for rows in zip(*common, strict=True))
    cases = first.cases.subset(mine)
    bootstrap = Bootstrap(cases.patients, draws=options.draws, seed=options.seed)
    return analysis.comparisons(cases, second.cases.subset(other), (first.decisions, second.decisions), bootstrap)


def _meaning(labelling: Labelling) -> dict[str, tuple[str, ...]]:
    found = dict(labelling.members)
    if labelling.negative:
        found[f"not {labelling.names[0]}"] = labelling.negative
    return found


def _whole(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file so that there is the old one or the whole new one."""
    part = path.with_name(f".{path.name}.part")
    make(part)
    part.replace(path)
