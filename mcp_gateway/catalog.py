"""What is known of each server from its last run, on disk, so that nothing has to run to answer from it.

One SQLite file, safe for several gateways at once. Losing it, or finding it locked, full or corrupt,
costs time and never function: what this process has learnt it also keeps in memory, a file that cannot
be used now is tried again later, and a corrupt one is put aside. No secret is ever in it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mcp_gateway import database
from mcp_gateway.knowledge import Call, Era, Knowledge, Tool
from mcp_gateway.registry import Entry
from mcp_gateway.shortcuts import Shortcut, from_json
from mcp_gateway.trust import Change, Pin, Pins, as_trusted, changes, new_pins, pin_of, pins_of

logger = logging.getLogger("mcp_gateway")

_T = TypeVar("_T")

_FLUSH_SECONDS = 5.0
_CALLS_AT_ONCE = 64
_MOST_WAITING_CALLS = 10_000
_TRUSTED_SECONDS = 0.05
"""Calls come by the hundred, and whether a person has trusted something since need not be asked for each."""
_AGAIN_SECONDS = 5.0
"""How long a file that is locked or full is left alone."""


def _all(_: str, __: Tool) -> bool:
    return True


@dataclass(frozen=True)
class _Judged:
    """What a server said, what was trusted then, what may be shown of it, and how long that holds unasked."""

    said: Knowledge
    pins: Pins
    shown: Knowledge
    until: float


class Catalog:
    """Knowledge by server and fingerprint of its entry, the index over it, and the record of calls."""

    def __init__(self, file: Path | None = None, redact: Callable[[str], str] = str) -> None:
        """Use `file`, opened when it is first needed; memory alone where it is None.

        `redact` takes the values of secrets out of what is written, for a server may repeat what it was given.
        """
        self._file = file
        self._redact = redact
        self._open_db: sqlite3.Connection | None = None
        self._cache: dict[tuple[str, str], Knowledge] = {}
        self._learnt: dict[tuple[str, str], Knowledge] = {}
        self._eras: dict[tuple[str, str], Era] = {}
        self._data_version = -1
        self._pins: dict[tuple[str, str], Pins] = {}
        self._fresh: set[tuple[str, str]] = set()
        self._trusted: dict[tuple[str, str], _Judged] = {}
        self._shortcuts: dict[tuple[str, str], Shortcut | None] = {}
        self._waiting: set[tuple[str, str]] = set()
        self._spare: sqlite3.Connection | None = None
        self._spared: dict[tuple[str, str], Knowledge] = {}
        self._said = ""
        self._again_at = 0.0
        self._write_again_at = 0.0
        self._calls: list[Call] = []
        self._flushed_at = time.monotonic()

    def __repr__(self) -> str:
        return f"<Catalog {self._file or 'in memory'}>"

    def recall(self, entry: Entry) -> Knowledge | None:
        """What the server of this very entry said last, to whichever gateway."""
        key = database.key_of(entry)
        if self._nothing_yet():
            return self._learnt.get(key)
        self._drop_stale_cache()
        known = self._learnt[key] if key in self._waiting else self._cache.get(key)
        if known is None:
            known = self._try(lambda db: database.read(db, key), None) or self._learnt.get(key)
            if known is not None:
                self._cache[key] = known
        return known

    def remember(self, entry: Entry, knowledge: Knowledge) -> None:
        """Replace what was known; what is new in it is trusted, for it is seen for the first time."""
        key = database.key_of(entry)
        self._cache[key] = self._learnt[key] = knowledge
        if entry.pin != "off":
            known = self.pins(entry)
            new = new_pins(pins_of(self._without_secrets(knowledge)), known)
            self._pins[key] = {**known, **new} if new else known
        if self._file is not None:
            self._waiting.add(key)
            self._try_file(self._write_waiting, writes=True)

    def pins(self, entry: Entry) -> Pins:
        """What is trusted of a server."""
        key = database.key_of(entry)
        if not self._nothing_yet():
            self._drop_stale_cache()
            if key not in self._fresh:
                kept = self._read_file(lambda db: database.read_pins(db, key), {})
                self._pins[key] = {**self._pins.get(key, {}), **kept}  # what was trusted here outlives the file
                self._fresh.add(key)
        return self._pins.setdefault(key, {})

    def trusted(self, entry: Entry, knowledge: Knowledge) -> Knowledge:
        """What may be shown of what a server says, see `trust`; the very same where nothing has changed."""
        key, now = database.key_of(entry), time.monotonic()
        before = self._trusted.get(key)
        if before is not None and before.said is knowledge and now < before.until:
            return before.shown
        pins = self.pins(entry)
        if before is not None and before.said is knowledge and before.pins is pins:
            shown = before.shown
        else:
            clean = self._without_secrets(knowledge)
            shown = as_trusted(clean, pins)
            shown = knowledge if shown is clean else shown
        self._trusted[key] = _Judged(knowledge, pins, shown, now + _TRUSTED_SECONDS)
        return shown

    def changes(self, name: str) -> list[Change]:
        """What a server says that is not as it was trusted, under each fingerprint that is known."""
        found: list[Change] = []
        for fingerprint in self._read_file(lambda db: database.fingerprints(db, name), []):
            entry = Entry(name, fingerprint=fingerprint)
            known = self.recall(entry)
            if known is not None:
                found.extend(changes(fingerprint, known, self.pins(entry)))
        return found

    def trust(self, name: str, accepted: Iterable[Change]) -> bool:
        """Have these be what is trusted; whether that could be written."""
        pins: dict[str, dict[str, Pin]] = {}
        for change in accepted:
            pins.setdefault(change.fingerprint, {})[change.key] = pin_of(change.now)

        def write(db: sqlite3.Connection) -> None:
            for fingerprint, new in pins.items():
                database.write_trust(db, (name, fingerprint), new)

        self._fresh.clear()
        self._trusted.clear()
        return self._try_file(write, writes=True)

    def shortcut(self, entry: Entry) -> Shortcut | None:
        """What the launcher of an entry ended up running."""
        key = database.key_of(entry)
        if key in self._shortcuts:
            return self._shortcuts[key]
        kept = None if self._nothing_yet() else self._read_file(lambda db: database.read_shortcut(db, key), None)
        try:
            return None if kept is None else from_json(kept)
        except (TypeError, KeyError):
            return None

    def keep_shortcut(self, entry: Entry, shortcut: Shortcut | None) -> None:
        """Keep what the launcher of an entry ended up running; None to forget it."""
        key = database.key_of(entry)
        value = shortcut.as_json() if shortcut else None
        if self._try_file(lambda db: database.write_shortcut(db, key, value), writes=True):
            self._shortcuts.pop(key, None)
        else:
            self._shortcuts[key] = shortcut

    def era(self, entry: Entry) -> Era | None:
        """How this server is to be asked first."""
        key = database.key_of(entry)
        if key not in self._eras:
            row = self._try(
                lambda db: db.execute("SELECT era FROM servers WHERE (name, fingerprint) = (?, ?)", key), None
            )
            found = row.fetchone() if row is not None else None
            return found[0] if found else None
        return self._eras[key]

    def remember_era(self, entry: Entry, era: Era) -> None:
        """Keep how the server was reached."""
        key = database.key_of(entry)
        self._eras[key] = era
        self._try_file(lambda db: database.write_era(db, key, era), writes=True)

    def search(
        self, query: str, entries: Iterable[Entry], allowed: Callable[[str, Tool], bool] = _all
    ) -> list[tuple[str, Tool]]:
        """The allowed tools of these entries that match, the best first, each with its server's name."""
        asked = {database.key_of(entry): entry for entry in entries}
        found: list[list[tuple[str, Tool]]] = []

        def look(db: sqlite3.Connection) -> None:
            found.append(database.search_tools(db, query, set(asked), allowed))

        if self._waiting or not self._try_file(look):
            for entry in asked.values():
                self.recall(entry)
            self._try_spare(look)
        return found[0] if found else []

    def record(self, call: Call) -> None:
        """Note a call; calls are written some at a time."""
        self._calls.append(call)
        if len(self._calls) >= _CALLS_AT_ONCE or time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the calls that were noted; where the file cannot be written they are kept for the next time."""
        calls = self._calls[-_MOST_WAITING_CALLS:]
        self._calls = []
        self._flushed_at = time.monotonic()
        if calls and not self._try_file(lambda db: database.write_calls(db, calls), writes=True):
            self._calls = calls

    def calls(self) -> list[Call]:
        """All calls on record, the oldest first."""
        self.flush()
        columns = "at, server, tool, seconds, outcome, sent_chars, received_chars"
        rows = self._try(lambda db: db.execute(f"SELECT {columns} FROM calls ORDER BY at").fetchall(), [])  # noqa: S608
        return [Call(*row) for row in rows]

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        for db in (self._open_db, self._spare):
            if db is not None:
                with suppress(sqlite3.Error):
                    db.close()
        self._open_db = self._spare = None

    def _nothing_yet(self) -> bool:
        """Whether no gateway has made the file; a start need not make it only to find it empty."""
        return self._open_db is None and self._file is not None and not self._file.exists()

    def _drop_stale_cache(self) -> None:
        """Another gateway may have learnt something; SQLite tells by one number."""
        seen: list[int] = []
        if self._try_file(lambda db: seen.append(db.execute("PRAGMA data_version").fetchone()[0])):
            if seen[0] != self._data_version:
                self._cache = {}
                self._fresh.clear()
            self._data_version = seen[0]

    def _try(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Ask the file; where that fails, what this process knows by itself."""
        done: list[_T] = []
        if not self._try_file(lambda db: done.append(work(db))):
            self._try_spare(lambda db: done.append(work(db)))
        return done[0] if done else otherwise

    def _read_file(self, read: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Ask the file, if it can be asked."""
        done: list[_T] = []
        self._try_file(lambda db: done.append(read(db)))
        return done[0] if done else otherwise

    def _try_spare(self, work: Callable[[sqlite3.Connection], None]) -> None:
        with suppress(sqlite3.Error):
            work(self._spare_db())

    def _try_file(self, work: Callable[[sqlite3.Connection], None], *, writes: bool = False) -> bool:
        """Whether it could be done with the file; one that is locked or full is left alone for a while."""
        now = time.monotonic()
        if self._file is None or now < self._again_at or (writes and now < self._write_again_at):
            return False
        for _ in range(2):
            try:
                work(self._db(self._file))
            except (sqlite3.OperationalError, OSError) as exc:
                self._leave_alone(exc, writes=writes)
                return False
            except (sqlite3.DatabaseError, ValueError) as exc:
                self._put_aside(self._file, exc)
            else:
                return self._catch_up()
        return False

    def _catch_up(self) -> bool:
        """Write what could not be written before, where it can be now; True, for the work itself is done."""
        if self._waiting:
            self._try_file(self._write_waiting, writes=True)
        return True

    def _db(self, file: Path) -> sqlite3.Connection:
        if self._open_db is None:
            self._open_db = database.open_db(file)
        return self._open_db

    def _write_waiting(self, db: sqlite3.Connection) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            database.write_pins(db, key, self._pins.get(key, {}))
            database.write(db, key, self._without_secrets(self._learnt[key]))
            self._waiting.discard(key)

    def _spare_db(self) -> sqlite3.Connection:
        """An index in memory over all that this process knows, for when the file cannot be asked."""
        if self._spare is None:
            self._spare = database.open_db(None)
        for key, knowledge in {**self._cache, **self._learnt}.items():
            if self._spared.get(key) is not knowledge:
                database.write(self._spare, key, self._without_secrets(knowledge))
                self._spared[key] = knowledge
        return self._spare

    def _leave_alone(self, exc: Exception, *, writes: bool) -> None:
        said = f"the catalog {self._file} cannot be {'written' if writes else 'used'} now ({exc}); going on without it"
        logger.log(logging.DEBUG if said == self._said else logging.WARNING, said)
        self._said = said
        self._write_again_at = time.monotonic() + _AGAIN_SECONDS
        if not writes:
            self._again_at = self._write_again_at
        self._close_file()

    def _put_aside(self, file: Path, exc: Exception) -> None:
        """A corrupt file makes room for a new one."""
        logger.warning("the catalog %s is corrupt (%s); it is put aside", file, exc)
        self._close_file()
        self._waiting = set(self._learnt)
        with suppress(OSError):
            file.replace(file.with_suffix(".broken"))
        for ending in ("-wal", "-shm"):
            with suppress(OSError):
                file.with_name(file.name + ending).unlink()

    def _close_file(self) -> None:
        if self._open_db is not None:
            with suppress(sqlite3.Error):
                self._open_db.close()
        self._open_db = None
        self._data_version = -1

    def _without_secrets(self, knowledge: Knowledge) -> Knowledge:
        written = json.dumps({name: getattr(knowledge, name) for name in database.FIELDS})
        clean = self._redact(written)
        return knowledge if clean == written else database.knowledge_of(json.loads(clean))
