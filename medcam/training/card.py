"""The model card for people, written from what happened: nothing in it is said by hand about a single model."""

from collections.abc import Mapping

from medcam.pipeline import Pipeline
from medcam.training._card_figures import failures, performance, reliability, subgroups
from medcam.training._markdown import WARNING, number, plain, table
from medcam.training.account import NAME, Account
from medcam.training.network import ATTENTION

CURVE = "docs/learning_curve.png"
"""Where a bundle keeps the picture of its losses and AUROC over the epochs."""

MOST_VALUES = 12
"""Of a column, or of the labels that were left out."""


def readme(account: Account, pipeline: Pipeline) -> str:
    """The card in Markdown."""
    parts = (
        _head(account),
        _use(account, pipeline),
        _data(account),
        _shortcuts(account),
        _training(account),
        performance(account),
        reliability(account),
        subgroups(account),
        failures(account),
        _limits(account),
        _provenance(account),
    )
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _head(account: Account) -> str:
    network = account.network
    rows = [
        ("Pipeline", f"`{account.pipeline}`, which asks about {account.finding}"),
        ("Input", f"transform `{network.transform}`, options `{dict(network.transform_options)}`"),
        ("Network", f"{network.name}, {network.parameters:,} parameters, weights in {16 if network.half else 32} bits"),
        ("Output", f"{len(account.labels)} logit(s), calibrated to probabilities"),
        ("Explained layer", f"`{network.layer}`"),
        *([("Frames or tiles", f"{network.pooling} of their logits")] if network.pooling else []),
    ]
    return f"""# {account.pipeline}: {plain(", ".join(account.labels))}

{account.question} {WARNING}

{table(("", ""), rows)}"""


def _use(account: Account, pipeline: Pipeline) -> str:
    accepts = pipeline.accepts
    views = f", views {' and '.join(accepts.views)}" if accepts.views else ""
    return f"""## Intended use

For researchers who screen archives with medcam and look at every case themselves: {account.question}
The score sorts the worklist, the heatmap shows what influenced it, a physician decides.

Takes {", ".join(accepts.kinds)} of modality {", ".join(accepts.modalities)} whose tags say \
{", ".join(accepts.body_parts).lower()}{views}. Out of scope: everything else, and patients, views, ages, devices and \
sites that are not among those below."""


def _data(account: Account) -> str:
    data = account.data
    where = "".join(f", of which only rows with {column} = {cell}" for column, cell in data.where.items())
    meant = [f"- {plain(name)}: {plain(', '.join(raw))}" for name, raw in data.members.items()]
    if data.negative:
        meant.append(f"- no {account.finding}: {plain(', '.join(data.negative))}, and nothing else")
    lost = [
        f"Left out because their {why}: {sum(counts.values()):,} files ({_listed(counts)}).\n\n"
        for why, counts in (("label is in no group", data.unlabelled), ("file could not be used", data.unusable))
        if counts
    ]
    columns = [f"- {plain(name)}: {_listed(cells)}" for name, cells in data.columns.items()]
    if not {"licence", "license"} & set(data.columns):
        columns.append("- licence: the manifest states none")
    answers = [name for name in data.sides["training"] if name not in ("rows", "patients")]
    header = ("Side", "Files", "Patients", *(f"Patients with {answer}" for answer in answers))
    notes = "".join(f"\n\nNote: {note}." for note in (*data.notes, *data.warnings))
    return f"""## Data

A manifest of {data.rows:,} files{plain(where)}. {data.used:,} files of {data.patients:,} patients were used.

Reference standard: the labels of the manifest as they are; nobody has checked them here.

{_lines(meant)}

{"".join(lost)}Files by what the manifest says of them:

{_lines(columns)}

Split: {data.split}, seed {data.seed}. No patient is on two sides.

{table(header, [(side, *counts.values()) for side, counts in data.sides.items()])}

Training patients taught the network, validation patients chose the epoch, calibration patients everything else that \
was chosen, and test patients gave the figures. Who they are: `configs/split.json`, hashed.{notes}"""


def _shortcuts(account: Account) -> str:
    if not account.shortcuts:
        return ""
    rows = [
        (one.label, one.shortcut, f"{one.auroc:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f})")
        for one in account.shortcuts
    ]
    return f"""## Shortcuts

How well a logistic regression tells the label without looking at the picture, cross-validated by patient over all \
files. Where this is far above 0.5, the network may have learned the same, and its figures mean less.

{table(("Label", "Told by", "AUROC (95 %)"), rows)}"""


def _training(account: Account) -> str:
    settings, best = account.settings, account.history[account.best_epoch - 1]
    loss = f"focal loss with gamma {settings.gamma:g}" if settings.gamma else "cross-entropy"
    smoothing = f", label smoothing {settings.smoothing:g}" if settings.smoothing else ""
    changes = "shifted, zoomed, turned and made noisier" if settings.augment else "unchanged"
    mirrored = ", mirrored" if settings.augment and settings.flips else ""
    low = ", low frequencies first (EfficientTrain)" if settings.curriculum else ""
    rows = [
        (epoch.number, f"{epoch.loss:.4f}", f"{epoch.validation_loss:.4f}", number(epoch.auroc), f"{epoch.rate:.2g}")
        for epoch in account.history
    ]
    kept = "The last epoch was kept; nothing was chosen."
    if settings.keep == "best":
        chose = f"its validation AUROC of {number(best.auroc)} chose it, so that it is no figure of merit"
        kept = f"Epoch {best.number} was kept: {chose}."
    return f"""## Training

First weights: {plain(account.network.initial)}. Loss: {loss}, class weights {settings.alpha}{smoothing}; sampling \
{settings.balance}. AdamW, {settings.schedule} schedule up to {settings.rate:g}, weight decay \
{settings.weight_decay:g}, batches of {settings.batch}, precision {account.precision}, seed \
{settings.seed}; images {changes}{mirrored}{low}.

{len(rows)} of at most {settings.epochs} epochs in {account.seconds / 60:.1f} minutes. {kept}

![Loss and validation AUROC over the epochs]({CURVE.removeprefix("docs/")})

{table(("Epoch", "Training loss", "Validation loss", "Validation AUROC", "Learning rate"), rows)}"""


def _limits(account: Account) -> str:
    parts = "- Frames or tiles were taught the label of their file, which not each of them shows.\n"
    if account.network.pooling == ATTENTION:
        parts = "- Attention says which frames or tiles made the score, not that the others are healthy.\n"
    return f"""## Limits

- Research use only: nobody has tested it in use or approved it.
- Figures are of patients from the source of the training patients. Elsewhere expect worse, and learn calibration,
  threshold and conformal sets again.
- It knows {plain(", ".join(account.labels))} and nothing else. "Not flagged" never means normal.
- The heatmap shows what influenced the score, not the outline of a lesion. The labels say nothing about places, so
  whether it is right was not measured here.
- What goes along with the label in these data (view, device, markers, age) may be what the network has learned: look
  at the subgroups.
{parts if account.network.pooling else ""}- It does not learn in use. A new training makes a new bundle with a card of \
its own."""


def _provenance(account: Account) -> str:
    rows = [("the manifest", account.data.sha256), ("models/model.safetensors", account.weights_sha256)]
    return f"""## Provenance

{table(("File", "SHA-256"), [*rows, *account.blobs_sha256.items()])}

Made by {", ".join(f"{name} {release}" for name, release in account.versions.items())}. \
Everything above as data: `{NAME}`."""


def _listed(counts: Mapping[str, int]) -> str:
    pairs = sorted(counts.items(), key=lambda pair: -pair[1])
    more = f" and {len(pairs) - MOST_VALUES} others" if len(pairs) > MOST_VALUES else ""
    return plain(", ".join(f"{name} {count}" for name, count in pairs[:MOST_VALUES])) + more


def _lines(lines: list[str]) -> str:
    return "\n".join(lines)
