"""The registry: what people write, and what becomes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.config import RegistryFile, Written, build_registry, merge, read_servers
from mcp_gateway.registry import Entry, parse_entry
from servers import MCP_SERVERS


def entry(raw: object, **variables: str) -> Entry:
    return parse_entry("name", raw, variables)


@pytest.mark.parametrize(
    ("text", "expanded", "lacks"),
    [
        ("${A}", "1", ()),
        ("x${A}y${env:B}z", "x1y2z", ()),
        ("${C:-other}", "other", ()),
        ("${A:-other}", "1", ()),
        ("${C:-}", "", ()),
        ("${C:-http://h/$x}", "http://h/$x", ()),
        ("${C}", "", ("C",)),
        ("${C}${D}${C}", "", ("C", "D")),
        ("$A {A} $$ ${1%x} ${#} ${}", "$A {A} $$ ${1%x} ${#} ${}", ()),
    ],
)
def test_variables_are_expanded_everywhere(text: str, expanded: str, lacks: tuple[str, ...]) -> None:
    made = entry({"command": "c", "args": [text]}, A="1", B="2")
    assert made.args == (expanded,)
    assert made.lacks == lacks
    assert bool(made.refused) is bool(lacks)


@pytest.mark.parametrize("place", ["command", "cwd", "url", "headers", "args"])
def test_a_missing_variable_refuses_the_server_by_name(place: str) -> None:
    raw: dict[str, Any] = {"command": "c"}
    if place == "headers":
        raw = {"url": "http://h", "headers": {"Authorization": "Bearer ${GONE}"}}
    elif place == "url":
        raw = {"url": "http://${GONE}"}
    else:
        raw[place] = ["${GONE}"] if place == "args" else "${GONE}"
    made = entry(raw)
    assert not made.usable
    assert made.refused == "it lacks GONE: set it in the environment or in .env"


def test_a_missing_variable_in_env_is_left_out_and_the_server_is_tried() -> None:
    made = entry({"command": "c", "env": {"A": "${GONE}", "B": "b", "C": "${GONE:-}", "D": ""}})
    assert made.usable
    assert made.env == {"B": "b", "D": ""}
    assert made.lacks == ("GONE",)


def test_numbers_and_booleans_mean_their_text() -> None:
    made = entry({"command": "c", "args": [8080, True], "env": {"PORT": 1, "ON": False, "NONE": None}})
    assert made.args == ("8080", "true")
    assert made.env == {"PORT": "1", "ON": "false", "NONE": ""}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"command": "c"}, "stdio"),
        ({"type": "stdio", "command": "c"}, "stdio"),
        ({"url": "http://h"}, "http"),
        ({"type": "streamable-http", "url": "http://h"}, "http"),
        ({"type": "streamableHttp", "url": "http://h"}, "http"),
        ({"type": "sse", "url": "http://h"}, "sse"),
        ({"url": "http://h/sse?x=1"}, "sse"),
        ({"type": "http", "url": "http://h/sse"}, "http"),
        ({"command": "c", "args": None, "env": None, "headers": None, "description": None}, "stdio"),
    ],
)
def test_the_kind_is_what_other_clients_take_it_for(raw: dict[str, Any], kind: str) -> None:
    assert entry(raw).kind == kind


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({}, 'names neither a "command" nor a "url"'),
        ({"comand": "npx", "serverUrl": "x"}, "these keys mean nothing here: comand, serverUrl"),
        ({"type": "http"}, 'needs a "url"'),
        ({"url": "http://[oops/mcp"}, 'needs a "url"'),
        ({"url": "http://h", "headers": {"X": "\u00fc"}}, "its header X holds characters that a header cannot carry"),
        ({"url": "http://h", "auth": "client_credentials"}, 'needs a "client_id" and a "client_secret"'),
        ({"url": "http://h", "auth": "magic"}, "auth.type: Input should be 'oauth' or 'client_credentials'"),
        ({"command": "c", "args": ["${input:key}"]}, "nobody can be asked for ${input:key}"),
        ({"command": "c", "description": "\ud800"}, "half of a surrogate pair"),
        ({"command": "c", "cwd": "~nosuchuser/x"}, "no home"),
        ({"type": "http", "url": "ftp://h"}, "begins with http://"),
        ({"command": 5}, "command: Input should be a valid string"),
        ({"command": "c", "args": "text"}, "args: Input should be a valid list"),
        ({"command": "c", "type": "carrier-pigeon"}, "type: Input should be 'stdio', 'http' or 'sse'"),
        ({"command": "c", "idle_timeout": -1}, "idle_timeout: Input should be greater than or equal to 0"),
        ({"command": "c", "init_timeout": 0}, "init_timeout: Input should be greater than 0"),
        ({"command": "c", "instances": 0}, "instances: Input should be greater than or equal to 1"),
        ({"command": "c", "tools": {"alow": []}}, "tools.alow: Extra inputs are not permitted"),
        ("text", "it has to be an object"),
        (None, "it has to be an object"),
    ],
)
def test_a_bad_entry_says_what_is_wrong(raw: object, says: str) -> None:
    made = entry(raw)
    assert not made.usable
    assert says in made.refused


def test_the_name_of_the_gateway_itself_is_taken() -> None:
    made = parse_entry("gateway", {"command": "c"}, {})
    assert 'the name "gateway" belongs to the gateway itself' in made.refused


def test_unknown_keys_are_named_and_not_fatal() -> None:
    made = entry({"command": "c", "autoApprove": [], "alwaysLoad": True})
    assert made.usable
    assert made.unknown == ("alwaysLoad", "autoApprove")


def test_secrets_are_known_wherever_an_entry_has_them() -> None:
    made = entry(
        {
            "command": "c",
            "args": ["--api-key=option-value", "${PLACE}", "${SOME_TOKEN}"],
            "env": {"DB_PASSWORD": "literal-secret", "SESSION_BACKEND": "sqlite_vec"},
            "url": "http://h/?token=url-secret",
            "headers": {"X-Api-Key": "header-secret", "X-Toolsets": "not-a-secret"},
        },
        PLACE="not-a-secret-either",
        SOME_TOKEN="variable-secret",
    )
    names = {"literal-secret": "DB_PASSWORD", "header-secret": "X-Api-Key", "variable-secret": "SOME_TOKEN"}
    assert dict(made.secrets) == {**names, "option-value": "api-key", "url-secret": "token"}
    assert "secrets=" not in repr(made)


def test_an_entry_without_a_name_says_so() -> None:
    assert parse_entry(" ", {"command": "c"}, {}).refused == "its entry has no name; give it one"


def test_an_entry_may_be_switched_off_in_two_ways() -> None:
    assert entry({"disabled": True}).disabled
    assert entry({"command": "c", "enabled": False}).disabled


def test_a_change_of_words_and_limits_is_none_of_the_launch() -> None:
    before = entry({"command": "c", "env": {"A": "1"}})
    assert before.launch == entry({"command": "c", "env": {"A": "1"}, "description": "x", "idle_timeout": 1}).launch
    assert before.launch != entry({"command": "c", "env": {"A": "2"}}).launch


@pytest.mark.parametrize("env", [None, [], "text", 5])
def test_a_bad_env_over_a_good_one_hurts_only_that_entry(env: object) -> None:
    base = {"a": {"command": "c", "env": {"K": "1"}}, "b": {"command": "b"}}
    made = build_registry(base, Written({"a": {"env": env}}), {})
    assert made.entries["b"].usable
    assert made.entries["a"].usable is (env is None)


def test_an_entry_of_the_servers_file_replaces_or_changes_the_one_before() -> None:
    base = {"a": {"command": "old", "args": ["x"], "env": {"K": "1"}, "description": "A"}, "b": {"command": "b"}}
    over = {"a": {"command": "new"}, "b": {"disabled": True}, "c": {"command": "c"}}
    merged = merge(base, over)
    assert merged["a"] == {"description": "A", "command": "new"}
    assert merged["b"]["command"] == "b"
    assert merged["b"]["disabled"] is True
    assert set(merged) == {"a", "b", "c"}
    assert merge(base, {"a": {"env": {"L": "2"}}})["a"]["env"] == {"K": "1", "L": "2"}
    assert base["a"]["env"] == {"K": "1"}


@pytest.mark.parametrize("key", ["mcpServers", "servers"])
def test_the_formats_of_claude_and_of_vs_code_are_read(tmp_path: Path, key: str) -> None:
    file = tmp_path / "servers.json"
    file.write_text("\ufeff" + json.dumps({key: {"a": {"command": "c"}}, "inputs": []}))
    assert read_servers(file) == {"a": {"command": "c"}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{", "line 1, column 2"),
        ("[]", 'no object "mcpServers"'),
        ('{"mcpServers": []}', 'no object "mcpServers"'),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "servers.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=says):
        read_servers(file)


def test_comments_and_last_commas_are_read_as_vs_code_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text("""{ // a note
        "servers": {
            "a": {"command": "c", "args": ["//x", "/*y*/", ",]"], /* another
            note */ },
        },
    }""")
    assert read_servers(file) == {"a": {"command": "c", "args": ["//x", "/*y*/", ",]"]}}


def test_a_file_that_was_named_and_is_not_there_is_a_problem(tmp_path: Path) -> None:
    config = tmp_path / "none.json"
    assert RegistryFile({}, config, [], dict).poll().problems == ()
    (problem,) = RegistryFile({}, config, [], dict, required=True).poll().problems
    assert problem == f"GATEWAY_CONFIG names {config}, which is not there"


def test_no_file_and_an_empty_one_mean_no_servers(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    assert read_servers(file) == {}
    file.touch()
    assert read_servers(file) == {}


def test_the_registry_is_read_again_when_a_file_changes_and_not_before(tmp_path: Path) -> None:
    config, dotenv = tmp_path / "servers.json", tmp_path / ".env"
    variables: dict[str, str] = {}
    registry = RegistryFile({}, config, [dotenv], lambda: variables)
    first = registry.poll()
    assert registry.poll() is first
    config.write_text('{"mcpServers": {"a": {"command": "${PROGRAM}"}}}')
    assert registry.poll().entries["a"].lacks == ("PROGRAM",)
    variables["PROGRAM"] = "program"
    dotenv.write_text("PROGRAM=program")
    assert registry.poll().entries["a"].command == "program"
    config.write_text("{")
    os.utime(config, ns=(1, 1))
    broken = registry.poll()
    assert broken.entries["a"].command == "program"
    assert "the last good version is in force" in broken.problems[0]


def test_the_preconfigured_servers_are_usable_once_their_variables_are_set() -> None:
    names = {"github", "context7", "dataforseo", "google-analytics", "google-search-console", "google-workspace",
             "memory", "apify"}  # fmt: skip
    without = build_registry(MCP_SERVERS, Written(), {}).entries
    assert set(without) == names
    assert {name for name, made in without.items() if not made.usable} == {"github"}
    lacking = {variable for made in without.values() for variable in made.lacks}
    filled = build_registry(MCP_SERVERS, Written(), dict.fromkeys(lacking, "value-of-it")).entries
    assert all(made.usable and not made.lacks and made.description for made in filled.values())
    assert filled["github"].headers == {"Authorization": "Bearer value-of-it"}
