"""Results that were too big to show: kept whole in `results/` for a while, read on by their ids.

A file a result, for its owner alone; the folder is bounded in size and age. Where it cannot be
written, the caller is told, and shows what it can.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from mcp_gateway import private

_MOST_BYTES = 200_000_000
_MOST_SECONDS = 7 * 86_400
_TRIES = 50
_FILE = re.compile(r"r(\d+)\.txt")


class Store:
    """Texts by id, in one folder that several gateways share."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`; it is made when it is first needed."""
        self._folder = folder

    def keep(self, text: str) -> str | None:
        """Keep a text; its id, or None where it cannot be written."""
        data = text.encode("utf-8", "surrogatepass")
        try:
            private.make_folder(self._folder)
            self._make_room(len(data))
            return self._write(data)
        except OSError:
            return None

    def read(self, result_id: str) -> str | None:
        """The whole text of that id, or None if there is none (any more)."""
        if not _FILE.fullmatch(f"{result_id}.txt"):
            return None
        file = self._folder / f"{result_id}.txt"
        try:
            return file.read_bytes().decode("utf-8", "surrogatepass")
        except OSError:
            return None

    def _write(self, data: bytes) -> str | None:
        number = max(self._numbers(), default=0)
        for candidate in range(number + 1, number + 1 + _TRIES):
            file = self._folder / f"r{candidate}.txt"
            try:
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:  # another gateway has just taken it
                continue
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
            except OSError:
                file.unlink(missing_ok=True)
                raise
            return f"r{candidate}"
        return None

    def _numbers(self) -> list[int]:
        return [int(match[1]) for name in os.listdir(self._folder) if (match := _FILE.fullmatch(name))]

    def _make_room(self, wanted: int) -> None:
        """Old results go first, then the oldest until the new one fits."""
        files: list[tuple[float, int, Path]] = []
        for file in self._folder.glob("r*.txt"):
            with suppress(OSError):
                stat = file.stat()
                files.append((stat.st_mtime, stat.st_size, file))
        total = wanted + sum(size for _, size, _ in files)
        for changed, size, file in sorted(files)[:-1]:
            if total <= _MOST_BYTES and time.time() - changed < _MOST_SECONDS:
                break
            file.unlink(missing_ok=True)
            total -= size
