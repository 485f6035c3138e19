"""Asking before a call: what is asked for, how, and what is refused where nobody can be asked."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as types
import pytest
from mcp.client import ClientRequestContext
from support import Start, child, write_config

from mcp_gateway.config import read_file
from mcp_gateway.consent import visible
from mcp_gateway.policy import Policy
from mcp_gateway.registry import ToolPolicy

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("mode", ["legacy", "auto"])


class Person:
    """Says yes or no, and keeps what it was asked."""

    def __init__(self, action: Any = "accept") -> None:
        """Answer with that action."""
        self.action = action
        self.asked: list[str] = []

    async def __call__(self, _: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        """The SDK's elicitation callback."""
        self.asked.append(params.message)
        return types.ElicitResult(action=self.action, content={} if self.action == "accept" else None)


@BOTH
async def test_the_user_is_asked_with_the_server_the_tool_and_the_arguments_in_full(start: Start, mode: str) -> None:
    person = Person()
    entries = {"kind": child("friendly", tools={"ask": ["ec*"]})}
    async with start(entries, mode=mode, elicitation_callback=person) as running:
        arguments = {"text": "x" * 5_000 + "\u202e\x07end", "count": 2}
        assert json.loads(await running.text("kind", "echo", arguments))["count"] == 2
        await running.text("kind", "steps")
    (asked,) = person.asked
    assert asked.startswith('Call the tool "echo" of the server "kind"?\n\nArguments:\n{\n  "text": "xxx')
    assert "x" * 5_000 in asked
    assert "\\u202e" in asked
    assert "\u202e" not in asked


@BOTH
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_call_that_the_user_does_not_agree_to_is_not_made(start: Start, mode: str, action: str) -> None:
    entries = {"kind": child("friendly", tools={"ask": ["echo"]})}
    async with start(entries, mode=mode, elicitation_callback=Person(action)) as running:
        said = await running.error("kind", "echo", {"text": "hi"})
    assert said == (
        'The tool "echo" of "kind" was not called: the user did not agree to this call; ask them before trying again.'
    )


@BOTH
async def test_without_a_client_that_can_ask_the_call_is_refused_with_the_reason(start: Start, mode: str) -> None:
    async with start({"kind": child("friendly", tools={"ask": ["echo"]})}, mode=mode) as running:
        said = await running.error("kind", "echo", {"text": "hi"})
    assert "the user is to be asked first" in said
    assert "the client of this gateway does not support elicitation" in said


@BOTH
async def test_everything_that_is_not_declared_to_be_reading_is_asked_for(start: Start, mode: str) -> None:
    person = Person()
    async with start({"kind": child("friendly")}, mode=mode, elicitation_callback=person, ask="destructive") as running:
        await running.text("kind", "echo", {"text": "hi"})
        assert len(person.asked) == 1
        await running.error("kind", "read_once", {"mark": "/nowhere/at/all"})
        assert len(person.asked) == 1


async def test_read_only_shows_and_calls_nothing_else(start: Start) -> None:
    async with start({"kind": child("friendly")}, read_only=True) as running:
        loaded = await running.load("kind")
        assert "read_once" in loaded
        assert "echo" not in loaded
        assert "kind.echo" not in await running.list("echo")
        said = await running.error("kind", "echo", {"text": "hi"})
        assert "only tools that are declared to be read-only may be called (GATEWAY_READ_ONLY=1)" in said


async def test_a_modern_server_that_asks_for_more_does_not_make_the_gateway_ask_again(start: Start) -> None:
    person = Person()
    entries = {"new": child("modern", tools={"ask": ["asks"]})}
    async with start(entries, mode="legacy", elicitation_callback=person) as running:
        await running.error("new", "asks")
    assert len([asked for asked in person.asked if asked.startswith("Call the tool")]) == 1


async def test_a_call_that_is_made_once_more_is_not_asked_for_again(start: Start, tmp_path: Any) -> None:
    person = Person()
    entries = {"kind": child("friendly", tools={"ask": ["read_once"]})}
    async with start(entries, elicitation_callback=person) as running:
        assert await running.text("kind", "read_once", {"mark": str(tmp_path / "mark")}) == "survived"
    assert len(person.asked) == 1


async def test_rules_for_all_servers_stand_in_the_servers_file(start: Start) -> None:
    entries = {"one": child("friendly"), "two": child("friendly")}
    async with start(entries) as running:
        document = {"mcpServers": entries, "tools": {"deny": ["one.echo", "*.crash"], "ask": ["two.*"]}}
        write_config(running.config, entries)
        running.config.write_text(json.dumps(document))
        assert "the servers file denies it" in await running.error("one", "echo", {"text": "hi"})
        assert "the servers file denies it" in await running.error("two", "crash")
        assert "the user is to be asked first" in await running.error("two", "echo", {"text": "hi"})
        assert "done" in await running.text("one", "steps")
        running.config.write_text(json.dumps({**document, "tools": {"denied": ["*"]}}))
        assert "the last good version is in force" in await running.list()
        assert "the servers file denies it" in await running.error("two", "crash")


def test_rules_that_cannot_be_read_are_not_taken_for_none(tmp_path: Any) -> None:
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {}, "tools": {"deny": "all"}}')
    with pytest.raises(ValueError, match=r"tools\.deny: Input should be a valid"):
        read_file(file)


@pytest.mark.parametrize(
    ("own", "everywhere", "says"),
    [
        ({}, {}, "allow"),
        ({"allow": ["a*"]}, {}, "deny"),
        ({"allow": ["t"]}, {"deny": ["s.*"]}, "deny"),
        ({"ask": ["t"]}, {"allow": ["s.t"]}, "ask"),
        ({"allow": ["x"], "ask": ["t"]}, {}, "ask"),
        ({"deny": ["t"], "ask": ["t"]}, {"allow": ["*"]}, "deny"),
        ({}, {"allow": ["other.*"]}, "deny"),
        ({}, {"ask": ["*.t"]}, "ask"),
    ],
)
def test_what_is_denied_comes_first_then_what_is_asked_for(
    own: dict[str, Any], everywhere: dict[str, Any], says: str
) -> None:
    policy = Policy("s", ToolPolicy.model_validate(own), ToolPolicy.model_validate(everywhere))
    assert policy.verdict({"name": "t"}).says == says


def test_words_in_a_name_or_description_decide_nothing() -> None:
    policy = Policy("s", ToolPolicy(), ToolPolicy(), ask_writing=True)
    harmless = {"name": "delete_everything", "annotations": {"readOnlyHint": True}}
    assert policy.verdict(harmless).says == "allow"
    assert policy.verdict({"name": "read", "description": "Reads only."}).says == "ask"


def test_characters_that_nobody_sees_are_shown() -> None:
    assert visible("a\u200bb\x1b[2K\n\U000e0041é漢") == "a\\u200bb\\u001b[2K\n\\U000e0041é漢"
