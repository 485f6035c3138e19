"""The catalog's file: its schema, and what is read and written in it.

Every function takes an open connection and may raise what `sqlite3` raises, or `ValueError` where
the file holds what was never written.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from mcp_gateway import private, search
from mcp_gateway.caller import as_dict
from mcp_gateway.knowledge import Call, Era, Knowledge, Tool, definition_hash
from mcp_gateway.registry import Entry
from mcp_gateway.trust import Pin, Pins, as_trusted

_VERSION = 3
FIELDS = ("tools", "instructions", "title", "tools_error", "prompts", "resources", "templates", "capabilities")
"""All that is kept of what a server says."""
_OFFERS = FIELDS[4:]
"""What stands in one column, for nothing is looked up in it."""
_BUSY_SECONDS = 0.5
"""How long another gateway may keep the file locked before this one goes on without it."""
_WAL_TRIES = 10
_WAL_PAUSE = 0.02
_HITS_A_TERM = 200
_MOST_HITS = 12
_KEPT_CALLS = 100_000
_KEPT_FINGERPRINTS = 3
"""Of one server: gateways of several projects may know it with different variables set."""
_KEPT_SERVERS = 500
"""Of all names: those of servers that nobody has any more must not be kept for ever."""
_MOST_PAGES = 100_000
"""Of 4 KB; beyond them the file counts as full."""
_KEPT_PINS = 20
"""Fingerprints of one server whose pins are kept, for trust must not end with what is known."""

_OTHERS = """
CREATE TABLE shortcuts (
    server TEXT NOT NULL, fingerprint TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (server, fingerprint)
);
CREATE TABLE pins (
    server TEXT NOT NULL, fingerprint TEXT NOT NULL, key TEXT NOT NULL, hash TEXT NOT NULL,
    definition TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (server, fingerprint, key)
);
"""

_SCHEMA = f"""
CREATE TABLE servers (
    name TEXT NOT NULL, fingerprint TEXT NOT NULL, era TEXT, title TEXT NOT NULL, instructions TEXT NOT NULL,
    tools_error TEXT NOT NULL, seen REAL NOT NULL, offers TEXT NOT NULL DEFAULT '{{}}',
    PRIMARY KEY (name, fingerprint)
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
{_OTHERS}
PRAGMA user_version = {_VERSION};
"""  # noqa: S608 - names and numbers of our own
_SINCE_VERSION_2 = f"""
{_OTHERS}
PRAGMA user_version = {_VERSION};
"""
_SINCE_VERSION_1 = f"""
ALTER TABLE servers ADD COLUMN offers TEXT NOT NULL DEFAULT '{{}}';
{_SINCE_VERSION_2}
"""
_MATCHES = f"SELECT rowid, -rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT {_HITS_A_TERM}"  # noqa: S608
_OF_ONE = "MATCH ? AND rowid IN (SELECT id FROM tools WHERE (server, fingerprint) = (?, ?))"
_MATCHES_OF_ONE = _MATCHES.replace("MATCH ?", _OF_ONE)


def key_of(entry: Entry) -> tuple[str, str]:
    """What an entry is known under: its name and its fingerprint."""
    return entry.name, entry.fingerprint


def open_db(file: Path | None) -> sqlite3.Connection:
    """Opens the file, or memory where there is none; a file that cannot be written is opened to read."""
    if file is None:
        return _prepared(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    private.make_folder(file.parent)
    try:
        private.make_file(file)
        return _prepared(sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False))
    except (sqlite3.OperationalError, OSError):
        return _open_to_read(file)


def _open_to_read(file: Path) -> sqlite3.Connection:
    """On a full or read-only disk what is there can still be read."""
    uri = f"{file.as_uri()}?mode=ro&immutable=1"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        _check_version(db)
    except BaseException:
        db.close()
        raise
    return db


def _check_version(db: sqlite3.Connection) -> None:
    if _version(db) != _VERSION:
        raise sqlite3.OperationalError(f"it is of version {_version(db)}, this gateway knows version {_VERSION}")


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    try:
        _use_wal(db)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA max_page_count = {_MOST_PAGES}")
        if _version(db) < _VERSION:
            db.execute("BEGIN IMMEDIATE")  # another gateway may be doing the same
            steps = {0: _SCHEMA, 1: _SINCE_VERSION_1, 2: _SINCE_VERSION_2}.get(_version(db), "")
            for statement in steps.split(";\n"):
                db.execute(statement)
            db.execute("COMMIT")
        _check_version(db)
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection) -> None:
    """Gateways that open a new file at the same moment get in each other's way here, and nothing waits for that."""
    for left in range(_WAL_TRIES, -1, -1):
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(_WAL_PAUSE)
        else:
            return


def _version(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def read(db: sqlite3.Connection, key: tuple[str, str]) -> Knowledge | None:
    """What is known under a key."""
    found = db.execute(
        "SELECT title, instructions, tools_error, offers FROM servers WHERE (name, fingerprint) = (?, ?) AND seen > 0",
        key,
    ).fetchone()
    if found is None:
        return None
    rows = db.execute("SELECT definition FROM tools WHERE (server, fingerprint) = (?, ?) ORDER BY position", key)
    title, instructions, tools_error, offers = found
    values = {"tools": [json.loads(row[0]) for row in rows], **json.loads(offers)}
    return knowledge_of({**values, "title": title, "instructions": instructions, "tools_error": tools_error})


def knowledge_of(values: Mapping[str, Any]) -> Knowledge:
    """What was kept, as it was before.

    Raises:
        ValueError: It was never kept by a gateway.
    """
    lists: dict[str, Any] = {
        name: tuple(cast("list[Any]", value)) for name, value in values.items() if isinstance(value, list)
    }
    if not all(isinstance(item, dict) for items in lists.values() for item in items):
        raise ValueError("an item in the catalog is no object")
    return Knowledge(**{**values, **lists})


def write(db: sqlite3.Connection, key: tuple[str, str], knowledge: Knowledge) -> None:
    """Replaces what is known under a key."""
    texts = map(_text, (knowledge.title, knowledge.instructions, knowledge.tools_error))
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(
            "INSERT INTO servers VALUES (?, ?, NULL, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET title = excluded.title, "
            "instructions = excluded.instructions, tools_error = excluded.tools_error, seen = excluded.seen, "
            "offers = excluded.offers",
            (*key, *texts, time.time(), json.dumps({name: getattr(knowledge, name) for name in _OFFERS})),
        )
        _write_tools(db, key, knowledge.tools, as_trusted(knowledge, read_pins(db, key)).tools)
        _forget_old(db, key[0])
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _text(text: str) -> str:
    """SQLite holds characters, and half of a surrogate pair is none."""
    return text.encode("utf-8", "replace").decode()


def _write_tools(
    db: sqlite3.Connection, key: tuple[str, str], tools: Iterable[Tool], shown: Iterable[Tool], *, anew: bool = False
) -> None:
    """Keeps tools as they are, and the words by which they are found as they are shown."""
    new = [(json.dumps(tool), definition_hash(tool), seen) for tool, seen in zip(tools, shown, strict=True)]
    old = db.execute("SELECT hash FROM tools WHERE (server, fingerprint) = (?, ?) ORDER BY position", key).fetchall()
    if not anew and [row[0] for row in old] == [digest for _, digest, _ in new]:
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
    of_one = "SELECT name, fingerprint FROM servers WHERE name = ? ORDER BY seen DESC LIMIT -1 OFFSET ?"
    of_all = "SELECT name, fingerprint FROM servers ORDER BY seen DESC LIMIT -1 OFFSET ?"
    old = [*db.execute(of_one, (name, _KEPT_FINGERPRINTS)), *db.execute(of_all, (_KEPT_SERVERS,))]
    for key in old:
        _delete_tools(db, key)
        db.execute("DELETE FROM servers WHERE (name, fingerprint) = (?, ?)", key)
        db.execute("DELETE FROM shortcuts WHERE (server, fingerprint) = (?, ?)", key)


def read_pins(db: sqlite3.Connection, key: tuple[str, str]) -> dict[str, Pin]:
    """What is trusted under a key."""
    rows = db.execute("SELECT key, hash, definition FROM pins WHERE (server, fingerprint) = (?, ?)", key)
    return {row[0]: Pin(row[1], as_dict(json.loads(row[2]))) for row in rows}


def write_pins(db: sqlite3.Connection, key: tuple[str, str], pins: Pins, *, anew: bool = False) -> None:
    """Keeps what was not seen before, or with `anew` all of it; the first to be seen is what is trusted."""
    verb = "REPLACE" if anew else "IGNORE"
    rows = [(*key, _text(name), pin.hash, json.dumps(pin.definition), time.time()) for name, pin in pins.items()]
    db.execute("BEGIN IMMEDIATE")
    db.executemany(f"INSERT OR {verb} INTO pins VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608 - words of our own
    db.execute(
        "DELETE FROM pins WHERE server = ? AND fingerprint NOT IN "
        "(SELECT fingerprint FROM pins WHERE server = ? GROUP BY fingerprint ORDER BY max(at) DESC LIMIT ?)",
        (key[0], key[0], _KEPT_PINS),
    )
    db.execute("COMMIT")


def write_trust(db: sqlite3.Connection, key: tuple[str, str], pins: Pins) -> None:
    """Has these be what is trusted from now on; tools are found by their new words."""
    write_pins(db, key, pins, anew=True)
    known = read(db, key)
    if known is not None:
        shown = as_trusted(known, read_pins(db, key)).tools
        db.execute("BEGIN IMMEDIATE")
        _write_tools(db, key, known.tools, shown, anew=True)
        db.execute("COMMIT")


def fingerprints(db: sqlite3.Connection, name: str) -> list[str]:
    """All fingerprints under which a server is known."""
    return [row[0] for row in db.execute("SELECT fingerprint FROM servers WHERE name = ? AND seen > 0", (name,))]


def read_shortcut(db: sqlite3.Connection, key: tuple[str, str]) -> dict[str, Any] | None:
    """The shortcut around a launcher, as JSON."""
    found = db.execute("SELECT value FROM shortcuts WHERE (server, fingerprint) = (?, ?)", key).fetchone()
    return None if found is None else json.loads(found[0])


def write_shortcut(db: sqlite3.Connection, key: tuple[str, str], value: Mapping[str, Any] | None) -> None:
    """Keeps a shortcut, or forgets it."""
    if value is None:
        db.execute("DELETE FROM shortcuts WHERE (server, fingerprint) = (?, ?)", key)
    else:
        db.execute("INSERT OR REPLACE INTO shortcuts VALUES (?, ?, ?)", (*key, json.dumps(value)))


def write_era(db: sqlite3.Connection, key: tuple[str, str], era: Era) -> None:
    """Keeps how a server was reached."""
    db.execute(
        "INSERT INTO servers VALUES (?, ?, ?, '', '', '', 0, '{}') ON CONFLICT DO UPDATE SET era = excluded.era",
        (*key, era),
    )


def write_calls(db: sqlite3.Connection, calls: Iterable[Call]) -> None:
    """Puts calls on record, and drops the oldest beyond what is kept."""
    db.execute("BEGIN IMMEDIATE")
    rows = [(call.at, call.server, call.tool, call.seconds, call.outcome, call.sent_chars, call.received_chars)
            for call in calls]  # fmt: skip
    db.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    db.execute("DELETE FROM calls WHERE rowid <= (SELECT max(rowid) FROM calls) - ?", (_KEPT_CALLS,))
    db.execute("COMMIT")


def search_tools(
    db: sqlite3.Connection, query: str, wanted: set[tuple[str, str]], allowed: Callable[[str, Tool], bool]
) -> list[tuple[str, Tool]]:
    """The allowed tools of the wanted servers that match, the best first."""
    only = next(iter(wanted)) if len(wanted) == 1 else None
    found = [
        (term, _matches(db, [term.word], only), _matches(db, term.synonyms, only, search.TELLING))
        for term in search.terms(query)
    ]
    hits: list[tuple[str, Tool]] = []
    for row in search.rank(found):
        key, tool = _tool(db, row)
        if key in wanted and allowed(key[0], tool):
            hits.append((key[0], tool))
            if len(hits) >= _MOST_HITS:
                break
    return hits


def _tool(db: sqlite3.Connection, row: int) -> tuple[tuple[str, str], Tool]:
    """The tool of a row; of no server where another gateway has just replaced it."""
    found = db.execute("SELECT server, fingerprint, definition FROM tools WHERE id = ?", (row,)).fetchone()
    return (("", ""), {}) if found is None else ((found[0], found[1]), json.loads(found[2]))


def _matches(
    db: sqlite3.Connection,
    words: Iterable[str],
    only: tuple[str, str] | None,
    columns: Iterable[str] = search.COLUMNS,
) -> dict[int, float]:
    """Rows that have one of these words in one of these columns, of one server or of all, with their scores."""
    any_word = " OR ".join(f'"{word}"' for word in words)
    if not any_word:
        return {}
    query = f"{{{' '.join(columns)}}} : ({any_word})"
    rows = db.execute(_MATCHES, (query,)) if only is None else db.execute(_MATCHES_OF_ONE, (query, *only))
    return dict(rows.fetchall())
