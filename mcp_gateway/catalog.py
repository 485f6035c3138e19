"""What is known of each server from its last run, on disk, so that nothing has to run to answer from it.

One SQLite file, safe for several gateways at once. Losing it, or finding it locked, full or corrupt,
costs time and never function: what this process has learnt it also keeps in memory, and a file that
cannot be used is replaced by one that lives in memory alone. No value of a variable is ever in it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from mcp_gateway import search
from mcp_gateway.registry import Entry

logger = logging.getLogger("mcp_gateway")

Era = Literal["modern", "handshake"]
"""2026-07-28 and later, asked with `server/discover`; or `initialize`, 2024-11-05 to 2025-11-25."""

Tool = Mapping[str, Any]
"""A tool exactly as its server lists it: `name`, `description`, `inputSchema`, `annotations`, …"""

_T = TypeVar("_T")

_VERSION = 1
_BUSY_SECONDS = 0.5
"""How long another gateway may keep the file locked before this one goes on without it."""
_HITS_A_TERM = 200
_MOST_HITS = 12
_CALLS_AT_ONCE = 64
_FLUSH_SECONDS = 5.0
_KEPT_CALLS = 100_000
_KEPT_FINGERPRINTS = 3
"""Of one server: gateways of several projects may know it with different variables set."""

_SCHEMA = f"""
CREATE TABLE servers (
    name TEXT NOT NULL, fingerprint TEXT NOT NULL, era TEXT, title TEXT NOT NULL, instructions TEXT NOT NULL,
    tools_error TEXT NOT NULL, seen REAL NOT NULL, PRIMARY KEY (name, fingerprint)
);
CREATE TABLE tools (
    id INTEGER PRIMARY KEY, server TEXT NOT NULL, fingerprint TEXT NOT NULL, position INTEGER NOT NULL,
    definition TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE INDEX tools_of_server ON tools (server, fingerprint, position);
CREATE VIRTUAL TABLE words USING fts5 (
    {", ".join(search.COLUMNS)}, tokenize = "porter unicode61 remove_diacritics 2"
);
INSERT INTO words (words, rank) VALUES ('rank', 'bm25({", ".join(map(str, search.WEIGHTS))})');
CREATE TABLE calls (
    at REAL NOT NULL, server TEXT NOT NULL, tool TEXT NOT NULL, seconds REAL NOT NULL, outcome TEXT NOT NULL,
    sent_chars INTEGER NOT NULL, received_chars INTEGER NOT NULL
);
CREATE INDEX calls_by_time ON calls (at);
PRAGMA user_version = {_VERSION};
"""  # noqa: S608 - names and numbers of our own
_MATCHES = f"SELECT rowid, -rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT {_HITS_A_TERM}"  # noqa: S608 - a number of our own  # noqa: S608


@dataclass(frozen=True)
class Knowledge:
    """What one server said of itself.

    Attributes:
        tools: All its tools, in its order.
        instructions: Its own words on how to use it; empty if it sends none.
        title: What it calls itself.
        tools_error: Why its tools could not be listed, if so.
    """

    tools: tuple[Tool, ...] = ()
    instructions: str = ""
    title: str = ""
    tools_error: str = ""

    def tool(self, name: str) -> Tool | None:
        """The tool of that name."""
        return next((tool for tool in self.tools if tool.get("name") == name), None)

    @property
    def names(self) -> list[str]:
        """The names of all tools."""
        return [str(tool.get("name", "")) for tool in self.tools]


@dataclass(frozen=True)
class Call:
    """One call of a tool, for the figures: seconds, and characters of JSON each way.

    `outcome` is `ok`, `error` (the tool said so), or the name of the gateway's own failure.
    """

    at: float
    server: str
    tool: str
    seconds: float
    outcome: str
    sent_chars: int
    received_chars: int


def definition_hash(tool: Tool) -> str:
    """A hash of all that a tool is defined by, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tool, sort_keys=True).encode()).hexdigest()


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
        self._calls: list[Call] = []
        self._flushed_at = time.monotonic()

    def __repr__(self) -> str:
        return f"<Catalog {self._file or 'in memory'}>"

    def recall(self, entry: Entry) -> Knowledge | None:
        """What the server of this very entry said last, to whichever gateway."""
        self._drop_stale_cache()
        key = _key(entry)
        known = self._cache.get(key)
        if known is None:
            known = self._try(lambda db: _read(db, key), None) or self._learnt.get(key)
            if known is not None:
                self._cache[key] = known
        return known

    def remember(self, entry: Entry, knowledge: Knowledge) -> None:
        """Replace what was known."""
        key = _key(entry)
        self._cache[key] = self._learnt[key] = knowledge
        self._try(lambda db: _write(db, key, self._without_secrets(knowledge)), None)

    def era(self, entry: Entry) -> Era | None:
        """How this server is to be asked first."""
        key = _key(entry)
        if key not in self._eras:
            row = self._try(
                lambda db: db.execute("SELECT era FROM servers WHERE (name, fingerprint) = (?, ?)", key), None
            )
            found = row.fetchone() if row is not None else None
            return found[0] if found else None
        return self._eras[key]

    def remember_era(self, entry: Entry, era: Era) -> None:
        """Keep how the server was reached."""
        key = _key(entry)
        self._eras[key] = era
        self._try(lambda db: _write_era(db, key, era), None)

    def search(self, query: str, entries: Iterable[Entry]) -> list[tuple[str, Tool]]:
        """The tools of these entries that match, the best first, each with its server's name."""
        wanted = {_key(entry) for entry in entries}
        return self._try(lambda db: _search(db, query, wanted), [])

    def record(self, call: Call) -> None:
        """Note a call; calls are written some at a time."""
        self._calls.append(call)
        if len(self._calls) >= _CALLS_AT_ONCE or time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the calls that were noted."""
        calls, self._calls = self._calls, []
        self._flushed_at = time.monotonic()
        if calls:
            self._try(lambda db: _write_calls(db, calls), None)

    def calls(self) -> list[Call]:
        """All calls on record, the oldest first."""
        self.flush()
        columns = "at, server, tool, seconds, outcome, sent_chars, received_chars"
        rows = self._try(lambda db: db.execute(f"SELECT {columns} FROM calls ORDER BY at").fetchall(), [])  # noqa: S608
        return [Call(*row) for row in rows]

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        if self._open_db is not None:
            with suppress(sqlite3.Error):
                self._open_db.close()
            self._open_db = None

    def _drop_stale_cache(self) -> None:
        """Another gateway may have learnt something; SQLite tells by one number."""
        version = self._try(lambda db: db.execute("PRAGMA data_version").fetchone()[0], self._data_version)
        if version != self._data_version:
            self._data_version = version
            self._cache = dict(self._learnt) if self._file is None else {}

    def _try(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Do something with the file; where it fails, go on without, and say so once."""
        try:
            return work(self._db())
        except (sqlite3.Error, OSError) as exc:
            self._degrade(exc)
        try:
            return work(self._db())
        except sqlite3.Error:
            return otherwise

    def _db(self) -> sqlite3.Connection:
        if self._open_db is None:
            self._open_db = _open(self._file)
        return self._open_db

    def _degrade(self, exc: Exception) -> None:
        """Give the file up for this process; a corrupt one is put aside, so that the next process has a new one."""
        file, self._file = self._file, None
        logger.warning("the catalog %s cannot be used (%s); going on in memory", file, exc)
        if self._open_db is not None:
            with suppress(sqlite3.Error):
                self._open_db.close()
        self._open_db = None
        if (
            file is not None
            and isinstance(exc, sqlite3.DatabaseError)
            and not isinstance(exc, sqlite3.OperationalError)
        ):
            with suppress(OSError):
                file.replace(file.with_suffix(".broken"))
        for key, knowledge in self._learnt.items():
            with suppress(sqlite3.Error):
                _write(self._db(), key, self._without_secrets(knowledge))

    def _without_secrets(self, knowledge: Knowledge) -> Knowledge:
        written = json.dumps([knowledge.tools, knowledge.instructions, knowledge.title, knowledge.tools_error])
        clean = self._redact(written)
        if clean == written:
            return knowledge
        tools, instructions, title, tools_error = json.loads(clean)
        return Knowledge(tuple(tools), instructions, title, tools_error)


def _key(entry: Entry) -> tuple[str, str]:
    return entry.name, entry.fingerprint


def _open(file: Path | None) -> sqlite3.Connection:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(file or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db)
    except BaseException:
        db.close()
        raise
    if file is not None:
        with suppress(OSError):
            file.chmod(0o600)
    return db


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    if _version(db) == 0:
        db.execute("BEGIN IMMEDIATE")  # another gateway may be creating the same file
        if _version(db) == 0:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
        db.execute("COMMIT")
    if _version(db) != _VERSION:
        raise sqlite3.OperationalError(f"it is of version {_version(db)}, this gateway knows version {_VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def _read(db: sqlite3.Connection, key: tuple[str, str]) -> Knowledge | None:
    found = db.execute(
        "SELECT title, instructions, tools_error FROM servers WHERE (name, fingerprint) = (?, ?) AND seen > 0", key
    ).fetchone()
    if found is None:
        return None
    rows = db.execute("SELECT definition FROM tools WHERE (server, fingerprint) = (?, ?) ORDER BY position", key)
    title, instructions, tools_error = found
    return Knowledge(tuple(json.loads(row[0]) for row in rows), instructions, title, tools_error)


def _write(db: sqlite3.Connection, key: tuple[str, str], knowledge: Knowledge) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(
            "INSERT INTO servers VALUES (?, ?, NULL, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET title = excluded.title, "
            "instructions = excluded.instructions, tools_error = excluded.tools_error, seen = excluded.seen",
            (*key, _text(knowledge.title), _text(knowledge.instructions), _text(knowledge.tools_error), time.time()),
        )
        _write_tools(db, key, knowledge.tools)
        _forget_old(db, key[0])
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _text(text: str) -> str:
    """SQLite holds characters, and half of a surrogate pair is none."""
    return text.encode("utf-8", "replace").decode()


def _write_tools(db: sqlite3.Connection, key: tuple[str, str], tools: Iterable[Tool]) -> None:
    new = [(json.dumps(tool), definition_hash(tool), tool) for tool in tools]
    old = db.execute("SELECT hash FROM tools WHERE (server, fingerprint) = (?, ?) ORDER BY position", key).fetchall()
    if [row[0] for row in old] == [digest for _, digest, _ in new]:
        return
    _delete_tools(db, key)
    for position, (definition, digest, tool) in enumerate(new):
        row = db.execute(
            "INSERT INTO tools (server, fingerprint, position, definition, hash) VALUES (?, ?, ?, ?, ?)",
            (*key, position, definition, digest),
        ).lastrowid
        marks = ", ".join("?" * (len(search.COLUMNS) + 1))
        columns = ", ".join(("rowid", *search.COLUMNS))
        document = map(_text, search.document(key[0], tool))
        db.execute(f"INSERT INTO words ({columns}) VALUES ({marks})", (row, *document))  # noqa: S608 - names of our own


def _delete_tools(db: sqlite3.Connection, key: tuple[str, str]) -> None:
    db.execute("DELETE FROM words WHERE rowid IN (SELECT id FROM tools WHERE (server, fingerprint) = (?, ?))", key)
    db.execute("DELETE FROM tools WHERE (server, fingerprint) = (?, ?)", key)


def _forget_old(db: sqlite3.Connection, name: str) -> None:
    old = db.execute(
        "SELECT name, fingerprint FROM servers WHERE name = ? ORDER BY seen DESC LIMIT -1 OFFSET ?",
        (name, _KEPT_FINGERPRINTS),
    ).fetchall()
    for key in old:
        _delete_tools(db, key)
        db.execute("DELETE FROM servers WHERE (name, fingerprint) = (?, ?)", key)


def _write_era(db: sqlite3.Connection, key: tuple[str, str], era: Era) -> None:
    db.execute(
        "INSERT INTO servers VALUES (?, ?, ?, '', '', '', 0) ON CONFLICT DO UPDATE SET era = excluded.era", (*key, era)
    )


def _write_calls(db: sqlite3.Connection, calls: Iterable[Call]) -> None:
    db.execute("BEGIN IMMEDIATE")
    rows = [(call.at, call.server, call.tool, call.seconds, call.outcome, call.sent_chars, call.received_chars)
            for call in calls]  # fmt: skip
    db.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    db.execute("DELETE FROM calls WHERE rowid <= (SELECT max(rowid) FROM calls) - ?", (_KEPT_CALLS,))
    db.execute("COMMIT")


def _search(db: sqlite3.Connection, query: str, wanted: set[tuple[str, str]]) -> list[tuple[str, Tool]]:
    found = [
        (term, _matches(db, [term.word]), _matches(db, term.synonyms, search.TELLING) if term.synonyms else {})
        for term in search.terms(query)
    ]
    hits: list[tuple[str, Tool]] = []
    for row in search.rank(found):
        server, fingerprint, definition = db.execute(
            "SELECT server, fingerprint, definition FROM tools WHERE id = ?", (row,)
        ).fetchone()
        if (server, fingerprint) in wanted:
            hits.append((server, json.loads(definition)))
            if len(hits) >= _MOST_HITS:
                break
    return hits


def _matches(db: sqlite3.Connection, words: Iterable[str], columns: Iterable[str] = search.COLUMNS) -> dict[int, float]:
    """Rows that have one of these words in one of these columns, with their scores."""
    any_word = " OR ".join(f'"{word}"' for word in words)
    return dict(db.execute(_MATCHES, (f"{{{' '.join(columns)}}} : ({any_word})",)).fetchall())
