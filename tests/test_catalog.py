"""The catalog: what is learnt is known to the next process, and no state of the file costs function."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PROJECT

from mcp_gateway import search
from mcp_gateway.catalog import Catalog
from mcp_gateway.knowledge import Call, Knowledge, definition_hash
from mcp_gateway.registry import Entry, parse_entry
from mcp_gateway.secrets import Redactor

ENTRY = Entry("shop", fingerprint="f1")
TOOLS: tuple[dict[str, Any], ...] = (
    {
        "name": "search_books",
        "description": "Find titles by author.",
        "inputSchema": {"$defs": {"N": {"$ref": "#/$defs/N"}}, "properties": {"q": {"$ref": "#/$defs/N"}}},
        "outputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True},
        "_meta": {"vendor/x": 1},
    },
    {"name": "place_order", "description": "Buy copies \ud83d.", "inputSchema": {}},
)  # fmt: skip
KNOWN = Knowledge(TOOLS, "Use it well.", "Shop", "")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "catalog.sqlite3"


def test_what_is_learnt_is_known_to_the_next_process_exactly_as_received(file: Path) -> None:
    first = Catalog(file)
    first.remember(ENTRY, KNOWN)
    first.remember_era(ENTRY, "modern")
    first.close()
    second = Catalog(file)
    assert second.recall(ENTRY) == KNOWN
    assert second.era(ENTRY) == "modern"
    assert second.recall(Entry("shop", fingerprint="f2")) is None
    assert second.recall(Entry("other", fingerprint="f1")) is None
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_another_process_learns_is_seen_at_once(file: Path) -> None:
    one, two = Catalog(file), Catalog(file)
    one.remember(ENTRY, KNOWN)
    assert two.recall(ENTRY) == KNOWN
    one.remember(ENTRY, Knowledge(TOOLS[:1]))
    assert two.recall(ENTRY) == Knowledge(TOOLS[:1])
    assert [tool["name"] for _, tool in two.search("order books", [ENTRY])] == ["search_books"]


def test_an_era_alone_is_no_knowledge_of_tools(file: Path) -> None:
    catalog = Catalog(file)
    catalog.remember_era(ENTRY, "handshake")
    assert Catalog(file).recall(ENTRY) is None
    assert Catalog(file).era(ENTRY) == "handshake"


def test_only_tools_of_the_entries_that_are_asked_for_are_found(file: Path) -> None:
    catalog = Catalog(file)
    other = Entry("other", fingerprint="f1")
    catalog.remember(ENTRY, KNOWN)
    catalog.remember(other, KNOWN)
    assert {server for server, _ in catalog.search("books", [ENTRY])} == {"shop"}
    assert {server for server, _ in catalog.search("books", [ENTRY, other])} == {"shop", "other"}
    assert catalog.search("zebra", [ENTRY]) == []
    assert catalog.search('"zebra" AND (zebra* OR -zebra:', [ENTRY]) == []


def test_few_fingerprints_of_a_server_are_kept(file: Path) -> None:
    catalog = Catalog(file)
    for number in range(10):
        catalog.remember(Entry("shop", fingerprint=str(number)), KNOWN)
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM servers").fetchone() == (3,)
        assert db.execute("SELECT count(*) FROM words").fetchone() == (6,)
    db.close()


def test_servers_that_nobody_has_any_more_are_forgotten(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.database._KEPT_SERVERS", 5)
    catalog = Catalog(file)
    for number in range(20):
        catalog.remember(Entry(f"shop{number}", fingerprint="f1"), KNOWN)
    later = Catalog(file)
    known = [number for number in range(20) if later.recall(Entry(f"shop{number}", fingerprint="f1"))]
    assert known == [15, 16, 17, 18, 19]


def test_a_catalog_that_has_grown_to_its_bound_is_a_full_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.database._MOST_PAGES", 60)
    catalog = Catalog(file)
    catalog.remember(ENTRY, KNOWN)
    huge = Knowledge(({"name": "huge", "description": "x" * 1_000_000, "inputSchema": {}},))
    catalog.remember(Entry("huge", fingerprint="f1"), huge)
    assert catalog.recall(Entry("huge", fingerprint="f1")) == huge
    catalog.close()
    assert file.stat().st_size <= 60 * 4096
    assert Catalog(file).recall(ENTRY) == KNOWN


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_earlier_version_is_taken_over(file: Path, version: int) -> None:
    catalog = Catalog(file)
    catalog.remember(ENTRY, KNOWN)
    catalog.close()
    db = sqlite3.connect(file)
    db.executescript("DROP TABLE pins; DROP TABLE shortcuts;")
    if version == 1:
        db.execute("ALTER TABLE servers DROP COLUMN offers")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    later = Catalog(file)
    assert later.recall(ENTRY) == KNOWN
    later.remember(ENTRY, KNOWN)
    assert set(Catalog(file).pins(ENTRY)) == {"", "search_books", "place_order"}


def test_calls_are_on_record(file: Path) -> None:
    catalog = Catalog(file)
    made = [Call(float(number), "shop", "order", 0.5, "ok", 10, 20) for number in range(100)]
    for call in made:
        catalog.record(call)
    catalog.close()
    assert Catalog(file).calls() == made


@pytest.mark.parametrize("garbage", [b"", b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_corrupt_file_costs_nothing_but_what_was_in_it(file: Path, garbage: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(garbage)
    catalog = Catalog(file)
    assert catalog.recall(ENTRY) is None
    catalog.remember(ENTRY, KNOWN)
    assert catalog.recall(ENTRY) == KNOWN
    assert catalog.search("books", [ENTRY])
    catalog.close()
    after = Catalog(file)
    after.remember(ENTRY, KNOWN)
    after.close()
    assert Catalog(file).recall(ENTRY) == KNOWN


def test_a_file_that_is_corrupted_while_it_is_open_costs_nothing_either(file: Path) -> None:
    catalog = Catalog(file)
    catalog.remember(ENTRY, KNOWN)
    with file.open("r+b") as stream:
        stream.write(b"\xff" * file.stat().st_size)
    for leftover in (file.with_name(f"{file.name}-wal"),):
        leftover.unlink(missing_ok=True)
    catalog.remember(Entry("two", fingerprint="x"), KNOWN)
    assert catalog.recall(ENTRY) == KNOWN
    assert catalog.search("books", [ENTRY])


def test_a_locked_file_is_waited_for_a_moment_and_then_done_without(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Catalog(file).remember(ENTRY, KNOWN)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    catalog = Catalog(file)
    catalog.remember(ENTRY, Knowledge(TOOLS[:1]))
    assert catalog.recall(ENTRY) == Knowledge(TOOLS[:1])
    assert caplog.text.count("going on without it") == 1
    holder.execute("COMMIT")
    holder.close()
    assert Catalog(file).recall(ENTRY) == KNOWN


def test_a_file_that_was_locked_is_used_again_later(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.catalog._AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("mcp_gateway.database._BUSY_SECONDS", 0.05)
    first = Catalog(file)
    first.remember(ENTRY, KNOWN)
    first.close()
    catalog = Catalog(file)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    two = Entry("two", fingerprint="x")
    catalog.remember(two, KNOWN)
    catalog.record(Call(1.0, "two", "tool", 0.1, "ok", 1, 1))
    assert catalog.recall(ENTRY) == KNOWN
    assert {server for server, _ in catalog.search("books", [ENTRY, two])} >= {"two"}
    holder.execute("COMMIT")
    holder.close()
    assert {server for server, _ in catalog.search("books", [ENTRY, two])} == {"shop", "two"}
    catalog.close()
    after = Catalog(file)
    assert (after.recall(ENTRY), after.recall(two), len(after.calls())) == (KNOWN, KNOWN, 1)


@pytest.mark.parametrize("definition", ["{broken", "5", ""])
def test_a_damaged_row_costs_what_was_in_the_file_and_nothing_else(file: Path, definition: str) -> None:
    first = Catalog(file)
    first.remember(ENTRY, KNOWN)
    first.close()
    with sqlite3.connect(file) as db:
        db.execute("UPDATE tools SET definition = ?", (definition,))
    db.close()
    catalog = Catalog(file)
    assert catalog.recall(ENTRY) is None
    catalog.remember(ENTRY, KNOWN)
    catalog.close()
    assert Catalog(file).recall(ENTRY) == KNOWN


def test_a_servers_own_matches_are_not_lost_among_those_of_others(file: Path) -> None:
    catalog = Catalog(file)
    for number in range(15):
        tools = tuple({"name": f"create_issue_{one}", "description": "Creates an issue."} for one in range(20))
        catalog.remember(Entry(f"other-{number}", fingerprint="x"), Knowledge(tools))
    catalog.remember(ENTRY, Knowledge(({"name": "plain", "description": "Something. It can create an issue too."},)))
    assert [tool["name"] for _, tool in catalog.search("create an issue", [ENTRY])] == ["plain"]
    many = Entry("other-0", fingerprint="x")
    allowed = catalog.search("create issue", [many], lambda _, tool: tool["name"] == "create_issue_19")
    assert [tool["name"] for _, tool in allowed] == ["create_issue_19"]


def test_words_of_other_scripts_are_found() -> None:
    catalog = Catalog()
    names = ("\u521b\u5efa\u95ee\u9898", "\u0431\u0443\u0444\u0435\u0440", "r\u00e9sum\u00e9")
    catalog.remember(ENTRY, Knowledge(tuple({"name": f"t{at}", "description": name} for at, name in enumerate(names))))
    assert [catalog.search(name, [ENTRY])[0][1]["name"] for name in names] == ["t0", "t1", "t2"]


def test_a_folder_that_cannot_be_made_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    catalog = Catalog(tmp_path / "file" / "catalog.sqlite3")
    catalog.remember(ENTRY, KNOWN)
    assert catalog.recall(ENTRY) == KNOWN
    assert catalog.search("books", [ENTRY])
    catalog.close()


def test_a_full_disk_costs_nothing(file: Path) -> None:
    catalog = Catalog(file)
    catalog.remember(ENTRY, KNOWN)
    db = catalog._db(file)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a disk cannot be filled here
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    many = Knowledge(tuple({**TOOLS[0], "name": f"tool_{number}", "description": "x" * 5_000} for number in range(200)))
    catalog.remember(Entry("big", fingerprint="x"), many)
    assert catalog.recall(Entry("big", fingerprint="x")) == many
    assert catalog.recall(ENTRY) == KNOWN
    assert catalog.search("books", [ENTRY])


def test_a_file_of_a_later_version_is_left_alone(file: Path) -> None:
    Catalog(file).remember(ENTRY, KNOWN)
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    catalog = Catalog(file)
    catalog.remember(ENTRY, Knowledge())
    assert catalog.recall(ENTRY) == Knowledge()
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM tools").fetchone() == (2,)
    db.close()


def test_many_processes_create_and_fill_one_file_at_once(file: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from mcp_gateway.catalog import *; from mcp_gateway.knowledge import *\n"
        "from mcp_gateway.registry import Entry\n"
        "catalog = Catalog(Path(sys.argv[1]))\n"
        "for number in range(20):\n"
        "    entry = Entry(f'server-{sys.argv[2]}-{number}', fingerprint='x')\n"
        "    catalog.remember(entry, Knowledge(({'name': 'tool'},)))\n"
        "    catalog.record(Call(1.0, entry.name, 'tool', 0.1, 'ok', 1, 1))\n"
        "catalog.close()\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(file), str(number)], cwd=PROJECT, stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")
    catalog = Catalog(file)
    known = [catalog.recall(Entry(f"server-{one}-{two}", fingerprint="x")) for one in range(4) for two in range(20)]
    assert all(known)
    assert len(catalog.calls()) == 80


def test_no_secret_is_in_the_file(file: Path) -> None:
    raw = {
        "command": "c",
        "args": ["--api-key=literal-secret-1", "${SECRET_TOKEN}"],
        "env": {"PASSWORD": "literal-secret-2", "OTHER": "${SECRET_TOKEN}"},
        "headers": {"X": "header-secret-3"},
    }
    entry = parse_entry("shop", raw, {"SECRET_TOKEN": "variable-secret-4"})
    catalog = Catalog(file)
    catalog.remember(entry, KNOWN)
    catalog.record(Call(1.0, "shop", "order", 0.5, "ok", 10, 20))
    catalog.close()
    assert not any(word in file.read_bytes() for word in (b"secret-1", b"secret-2", b"secret-3", b"secret-4"))


def test_a_secret_that_a_server_repeats_is_not_in_the_file(file: Path) -> None:
    redact = Redactor()
    redact.learn([("very-secret-value", "KEY")])
    catalog = Catalog(file, redact.known)
    tool = {"name": "t", "description": "Signs in with very-secret-value. Bearer YOUR_TOKEN_HERE stays."}
    catalog.remember(ENTRY, Knowledge((tool,), "very-secret-value", "", "bad very-secret-value"))
    catalog.close()
    assert b"very-secret-value" not in file.read_bytes()
    known = Catalog(file).recall(ENTRY)
    assert known
    assert known.tools[0]["description"] == "Signs in with [KEY]. Bearer YOUR_TOKEN_HERE stays."


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"description": "words"}, True),
        ({"idle_timeout": 5}, True),
        ({"env": {"API_KEY": "another"}}, True),
        ({"args": ["--token=another"]}, True),
        ({"args": ["--fast"]}, False),
        ({"env": {"API_KEY": "k", "TOOLSETS": "all"}}, False),
        ({"env": {"API_KEY": "${GONE}"}}, False),
        ({"command": "d"}, False),
        ({"cwd": "/tmp"}, False),
    ],
)
def test_a_fingerprint_changes_with_what_decides_the_tools(change: dict[str, Any], same: bool) -> None:  # noqa: FBT001
    base = {"command": "c", "args": ["--token=secret"], "env": {"API_KEY": "key"}}
    before, after = (parse_entry("a", raw, {}).fingerprint for raw in (base, {**base, **change}))
    assert (before == after) is same


def test_a_definitions_hash_minds_what_matters() -> None:
    assert definition_hash({"a": 1, "b": [1, 2]}) == definition_hash({"b": [1, 2], "a": 1})
    assert definition_hash({"a": 1}) != definition_hash({"a": 2})


def test_words_are_found_by_their_stems_their_parts_and_their_synonyms() -> None:
    catalog = Catalog()
    tools = [
        {"name": "listPullRequests", "description": "Pull requests of a repository."},
        {"name": "delete_page", "description": "Deletes pages."},
        {"name": "send_email", "description": "Sends a message to people."},
        {"name": "plain", "inputSchema": {"properties": {"timezone": {"description": "Where the clock stands."}}}},
    ]
    catalog.remember(ENTRY, Knowledge(tuple(tools)))

    def best(query: str) -> str:
        return str(catalog.search(query, [ENTRY])[0][1]["name"])

    assert best("pull request") == "listPullRequests"
    assert best("remove the page") == "delete_page"
    assert best("mail my colleagues") == "send_email"
    assert best("timezones") == "plain"


def test_a_server_is_found_by_what_its_product_is_for() -> None:
    catalog = Catalog()
    crm, chat = Entry("hubspot", fingerprint="x"), Entry("slack", fingerprint="x")
    catalog.remember(crm, Knowledge(({"name": "search_objects", "description": "Search."},)))
    catalog.remember(chat, Knowledge(({"name": "search_all", "description": "Search."},)))
    assert catalog.search("search the crm", [crm, chat])[0][0] == "hubspot"


@given(st.text(max_size=60))
def test_any_query_is_answered(query: str) -> None:
    catalog = Catalog()
    catalog.remember(ENTRY, KNOWN)
    assert isinstance(catalog.search(query, [ENTRY]), list)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)
    )
)
def test_any_tool_is_indexed(schema: Any) -> None:
    document = search.document("server", {"name": "t", "inputSchema": schema, "annotations": schema})
    assert len(document) == len(search.COLUMNS)


def test_two_gateways_on_one_home_know_what_either_has_learnt(tmp_path: Path) -> None:
    shop = str(PROJECT / "examples" / "bookshop.py")
    entries = {"shop": {"command": sys.executable, "args": [shop]}}
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": entries}))
    environ = {**os.environ, "GATEWAY_HOME": str(tmp_path)}

    def run(*words: str) -> str:
        command = [sys.executable, str(PROJECT / "gateway.py"), *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout

    both = [
        subprocess.Popen(
            [sys.executable, str(PROJECT / "gateway.py"), "load", "shop"], env=environ, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    assert all(b"search_books(" in process.communicate(timeout=60)[0] for process in both)
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": entries}))
    log = (tmp_path / "logs" / "gateway.log").read_text().count("shop is started")
    assert "search_books(" in run("load", "shop")
    assert "shop.place_order(" in run("list", "buy a book")
    assert "(6 tools)" in run("list")
    assert (tmp_path / "logs" / "gateway.log").read_text().count("shop is started") == log
