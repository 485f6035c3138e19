"""Log files that stay small and hold no secret.

The gateway's own log is `logs/gateway.log`; what a child writes on stderr goes to
`logs/servers/<name>.log`, and its last lines are kept for error texts. Nothing is ever written to
stdout, which belongs to the protocol. Where the home folder cannot be written, logging goes on
without files, with one warning on stderr.
"""

from __future__ import annotations

import codecs
import logging
import re
import sys
import time
from collections import deque
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mcp_gateway import private
from mcp_gateway.secrets import Redactor
from mcp_gateway.visible import visible

LOGGER = "mcp_gateway"
_BYTES_A_FILE = 2_000_000
_OLD_FILES = 2
_LAST_LINES = 12
_BYTES_A_SECOND = 200_000
"""What is written of one child's stderr; more would keep the gateway from its other work."""
_LINE_CHARS = 2_000
"""A longer line of a child's stderr is cut; a program that writes no newline must not fill the memory."""
_LAST_LINE_CHARS = 300

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")


class _RedactingFormatter(logging.Formatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


class _SharedFileHandler(RotatingFileHandler):
    """Two gateways may write one file: where the other has it open, rotation waits for a better time."""

    told = False
    """Whether a person was told that a log cannot be written."""

    def _open(self) -> TextIOWrapper:
        mode, encoding, errors = self.mode, self.encoding, self.errors
        return open(self.baseFilename, mode, encoding=encoding, errors=errors, opener=private.opener)  # type: ignore[return-value]

    def doRollover(self) -> None:  # noqa: N802 - the base class names it
        try:
            super().doRollover()
        except OSError:
            self.stream = self.stream or self._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the base class names them
        """A full disk costs lines of the log, and one on stderr; what waits to be written is let go."""
        with suppress(OSError):
            self.close()
        if not _SharedFileHandler.told:
            _SharedFileHandler.told = True
            sys.stderr.write(f"mcp gateway: {self.baseFilename} cannot be written now; going on without a log\n")


def _open_file(file: Path) -> logging.Handler | None:
    try:
        private.make_folder(file.parent)
        return _SharedFileHandler(
            file, maxBytes=_BYTES_A_FILE, backupCount=_OLD_FILES, encoding="utf-8", errors="replace"
        )
    except OSError:
        return None


def set_up(home: Path, level: str, redact: Redactor) -> logging.Logger:
    """Sends the gateway's log, and the SDK's warnings, to `home/logs/gateway.log`."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    handler = _open_file(home / "logs" / "gateway.log")
    if handler is None:
        sys.stderr.write(f"mcp gateway: {home / 'logs'} cannot be written; going on without a log file\n")
        handler = logging.NullHandler()
    handler.setFormatter(_RedactingFormatter(redact))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    logger = logging.getLogger(LOGGER)
    logger.setLevel(level)
    return logger


def server_log_file(home: Path, server: str) -> Path:
    """Where a server's stderr goes; its name is made safe for every file system."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", server).lstrip(".") or "_"
    return home / "logs" / "servers" / f"{safe[:100]}.log"


class ServerLog:
    """What one run of a child says on stderr, and what it says on stdout that is not the protocol.

    A flood is written in part: so much a second, and then how much was left out.
    """

    def __init__(self, home: Path, server: str, redact: Redactor) -> None:
        """Write below `home`; a missing folder is made."""
        self._handler = _open_file(server_log_file(home, server))
        self._redact = redact
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._second = 0
        self._room = _BYTES_A_SECOND
        self._left_out = 0

    def feed(self, data: bytes) -> None:
        """Takes a piece of stderr, cut anywhere."""
        if not self._has_room(len(data)):
            self._left_out += len(data)
            data = data[-_LINE_CHARS:]  # what is said last is worth most
        *lines, self._partial = (self._partial + self._decoder.decode(data)).split("\n")
        if len(self._partial) > _LINE_CHARS:
            lines.append(self._partial)
            self._partial = ""
        self._write(lines)

    def line(self, text: str) -> None:
        """Takes one whole line."""
        if self._has_room(len(text)):
            self._write([text])
        else:
            self._left_out += len(text)

    def _has_room(self, size: int) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._room = second, _BYTES_A_SECOND
            if self._left_out:
                left_out, self._left_out = self._left_out, 0
                self._write([f"… {left_out:,} bytes left out"])
        self._room -= size
        return self._room > 0

    def _write(self, lines: list[str]) -> None:
        clean = [_CONTROL.sub("", line[:_LINE_CHARS]).rstrip() for line in lines]
        text = self._redact("\n".join(line for line in clean if line.strip()))
        if not text:
            return
        self._last.extend(text.split("\n")[-_LAST_LINES:])
        if self._handler is not None:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S ")
            message = stamp + text.replace("\n", f"\n{stamp}")
            self._handler.emit(logging.LogRecord(LOGGER, logging.INFO, "", 0, message, None, None))

    def last_words(self) -> str:
        """The last lines, for an error text."""
        lines = [*self._last, *([self._redact(self._partial)] if self._partial.strip() else [])]
        return "\n".join(visible(line[:_LAST_LINE_CHARS]) for line in lines)

    def close(self) -> None:
        """Writes what is left and closes the file."""
        self._write([self._partial, f"… {self._left_out:,} bytes left out" if self._left_out else ""])
        self._partial = ""
        if self._handler is not None:
            self._handler.close()
            self._handler = None
