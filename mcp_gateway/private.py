"""Folders and files for their owner alone, from the moment that they are there."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

FOLDER = 0o700
FILE = 0o600


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing.

    Raises:
        OSError: It cannot be made.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=FOLDER, exist_ok=True)


def close_to_others(folder: Path) -> None:
    """Take a folder that is there from those who do not own it, where that is ours to do."""
    with suppress(OSError):
        if folder.stat().st_mode & ~FOLDER & 0o777:
            folder.chmod(FOLDER)


def opener(file: str, flags: int) -> int:
    """What `open` takes to make a file that others cannot read, or to take one from them."""
    descriptor = os.open(file, flags, FILE)
    if sys.platform != "win32":
        with suppress(OSError):
            os.fchmod(descriptor, FILE)
    return descriptor


def make_file(file: Path) -> None:
    """Make an empty file, unless it is there.

    Raises:
        OSError: It cannot be made.
    """
    os.close(opener(str(file), os.O_CREAT | os.O_RDWR))
