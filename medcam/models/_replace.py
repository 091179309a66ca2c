"""Put a finished folder in the place of an old one, so that a killed process leaves the one or the other, whole."""

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path


def replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; what was there is gone afterwards.

    Linux and macOS exchange the two in one step. Elsewhere, and on file systems that cannot, the old folder steps
    aside for an instant, and `settled` brings it back if the process dies in that instant.
    """
    if not folder.exists():
        new.rename(folder)
    elif _exchanged(new, folder):
        shutil.rmtree(new, ignore_errors=True)
    else:
        aside = _aside(folder)
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        new.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)


def settled(folder: Path) -> Path:
    """The folder itself, after an old one that stepped aside for a process that died has been put back."""
    if not folder.exists() and _aside(folder).is_dir():
        with contextlib.suppress(OSError):  # somebody else was faster, or may not write here
            _aside(folder).rename(folder)
    return folder


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the operating system has swapped the two names in one step."""
    names, here, swap = (os.fsencode(one), os.fsencode(other)), -100, 2  # AT_FDCWD, RENAME_EXCHANGE, RENAME_SWAP
    try:
        system = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return bool(system.renamex_np(*names, swap) == 0)
        return sys.platform == "linux" and bool(system.renameat2(here, names[0], here, names[1], swap) == 0)
    except (AttributeError, OSError, TypeError):
        return False
