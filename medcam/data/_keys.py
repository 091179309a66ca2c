"""Names for what is cached: by the content of a file, and by everything else that its examples depend on."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medcam import transforms
from medcam.errors import UsageError
from medcam.readers._cache import readers_version
from medcam.transforms import SHELF, compose


def settings_key(transform: str, options: Mapping[str, Any], parts: str) -> str:
    """Another one whenever the transform, its options or the code that reads and prepares have changed.

    Raises:
        UsageError: there is no such transform ("unknown-transform") or it has no such option ("bad-option").
    """
    try:
        compose(transform, {}, **options)
    except (TypeError, ValueError) as error:
        raise UsageError("bad-option", f"The transform {transform} cannot be had like this: {error}.") from error
    own = Path(transforms.__file__).parent.glob("*.py")
    member = inspect.getsourcefile(inspect.unwrap(SHELF.load(transform)))
    digest = hashlib.sha256(f"{readers_version()} monai {version('monai')}".encode())
    for source in sorted({*own, Path(__file__).with_name("_decoding.py"), *([Path(member)] if member else [])}):
        digest.update(source.read_bytes())
    digest.update(json.dumps([transform, options, parts], sort_keys=True, default=repr).encode())
    return f"{transform}-{digest.hexdigest()[:16]}"


def file_key(path: Path) -> str:
    """A digest of a file, or of the files of a folder and their names.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_dir():
        return f"{_digest(path)}{path.suffix.lower()}"  # the ending can decide how a file is read
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = "\n".join(f"{file.relative_to(path).as_posix()} {_digest(file)}" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
