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
from collections import deque
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOGGER = "mcp_gateway"
_BYTES_A_FILE = 2_000_000
_OLD_FILES = 2
_LAST_LINES = 12
_LINE_CHARS = 2_000
"""A longer line of a child's stderr is cut; a program that writes no newline must not fill the memory."""
_LAST_LINE_CHARS = 300

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_BEARER = re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{8,}")


class Redactor:
    """Replaces the values of secrets wherever the gateway writes text of its own."""

    def __init__(self) -> None:
        """Know no secrets yet; log-ins in URLs and bearer tokens are found by their form."""
        self._secrets: tuple[tuple[str, str], ...] = ()

    def learn(self, secrets: Iterable[tuple[str, str]]) -> None:
        """Use these (value, name) pairs from now on, the longest value first."""
        self._secrets = tuple(sorted(set(secrets), key=lambda pair: -len(pair[0])))

    def __call__(self, text: str) -> str:
        """The text with `[NAME]` in place of each secret's value."""
        for value, name in self._secrets:
            text = text.replace(value, f"[{name}]")
        return _BEARER.sub("[token]", _URL_LOGIN.sub("[login]", text))


class _RedactingFormatter(logging.Formatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


class _SharedFileHandler(RotatingFileHandler):
    """Two gateways may write one file: where the other has it open, rotation waits for a better time."""

    def doRollover(self) -> None:  # noqa: N802 - the base class names it
        try:
            super().doRollover()
        except OSError:
            self.stream = self.stream or self._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """A full disk costs lines of the log and nothing else."""


def _open_file(file: Path) -> logging.Handler | None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
    """What one run of a child says on stderr, and what it says on stdout that is not the protocol."""

    def __init__(self, home: Path, server: str, redact: Redactor) -> None:
        """Write below `home`; a missing folder is made."""
        self._handler = _open_file(server_log_file(home, server))
        if self._handler is not None:
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._redact = redact
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def feed(self, data: bytes) -> None:
        """Takes a piece of stderr, cut anywhere."""
        *lines, self._partial = (self._partial + self._decoder.decode(data)).split("\n")
        for line in lines:
            self.line(line)
        if len(self._partial) > _LINE_CHARS:
            self.line(self._partial)
            self._partial = ""

    def line(self, text: str) -> None:
        """Takes one whole line."""
        clean = self._redact(_CONTROL.sub("", text[:_LINE_CHARS])).rstrip()
        if not clean.strip():
            return
        self._last.append(clean)
        if self._handler is not None:
            self._handler.emit(logging.LogRecord(LOGGER, logging.INFO, "", 0, clean, None, None))

    def last_words(self) -> str:
        """The last lines, for an error text."""
        lines = [*self._last, *([self._redact(self._partial)] if self._partial.strip() else [])]
        return "\n".join(line[:_LAST_LINE_CHARS] for line in lines)

    def close(self) -> None:
        """Writes what is left and closes the file."""
        if self._partial:
            self.line(self._partial)
            self._partial = ""
        if self._handler is not None:
            self._handler.close()
            self._handler = None
