"""The folder beside a bundle that a training works in: what it has done so far, for itself alone and only this once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from medcam.errors import UsageError
from medcam.storage import lock, storage_errors, write_whole
from medcam.training.options import Options
from medcam.training.plan import Plan

MARK = "run.json"
"""Says which training the folder belongs to."""
FREE = ("workers", "dry_run", "force")
"""Options that change nothing in the result."""


@contextmanager
def run_folder(out: Path, plan: Plan, options: Options) -> Iterator[Path]:
    """Take `BUNDLE.run` for this training, new or left by one that was stopped.

    Args:
        out: where the result will be.
        plan, options: what is asked for; a folder of another training is left alone.

    Raises:
        UsageError: "other-run", "bundle-there" or "not-a-bundle".
        ResultsError: the folder cannot be written, or another process writes to it.
    """
    folder, asked = run_of(out), _asked(plan, options)
    _refuse_foreign(out)
    with storage_errors(folder):
        if options.force and (folder / MARK).is_file():
            shutil.rmtree(folder)
        if folder.exists() and not (folder / MARK).is_file() and any(folder.iterdir()):
            raise UsageError("other-run", f"{folder} holds something else; move it, or choose another --out.")
        if out.exists() and not options.force and not (folder / MARK).is_file():
            raise UsageError("bundle-there", f"{out} is there already; choose another --out, or --force to replace it.")
        folder.mkdir(parents=True, exist_ok=True)
        with closing(lock(folder)):
            if (folder / MARK).is_file():
                _refuse_other(folder, asked)
            else:
                write_whole(folder / MARK, json.dumps(asked, indent=1).encode())
            yield folder


def run_of(out: Path) -> Path:
    """Where the training of a bundle works."""
    return out.with_name(f"{out.name}.run")


def _asked(plan: Plan, options: Options) -> dict[str, Any]:
    """Everything that the result depends on."""
    told = {name: value for name, value in options.to_dict().items() if name not in FREE}
    settings = told.pop("settings")
    asked = {"pipeline": plan.name, "data": plan.data_sha256, **told, **settings}
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


def _refuse_other(folder: Path, asked: dict[str, Any]) -> None:
    try:
        known = json.loads((folder / MARK).read_text())
    except ValueError:
        raise UsageError("other-run", f"{folder / MARK} is damaged; --force begins anew.") from None
    differs = [name for name in asked if known.get(name) != asked[name]]
    if differs:
        words = ", ".join(
            "other rows or labels" if name == "data" else f"{name} {known.get(name)!r}, now {asked[name]!r}"
            for name in differs[:3]
        )
        raise UsageError("other-run", f"{folder} has another training ({words}); choose another --out, or --force.")


def _refuse_foreign(out: Path) -> None:
    """Nothing is ever replaced that medcam has not made."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "configs").is_dir() and not is_folds(out)):
        raise UsageError("not-a-bundle", f"{out} holds something else than a bundle; choose another --out.")


def is_folds(folder: Path) -> bool:
    """Whether this is what a cross-validation has written."""
    return any((one / "configs").is_dir() for one in folder.glob("fold_*"))
