"""The three tools through the public door, over real children."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ImageContent
from support import Start, child, text_of
from tokenizers import Tokenizer

import gateway

pytestmark = pytest.mark.anyio


async def test_the_three_tools_are_all_that_a_client_sees(start: Start) -> None:
    async with start({}) as running:
        tools = (await running.client.list_tools()).tools
    assert [tool.name for tool in tools] == ["list_available_mcps", "load_mcp_tools", "call_mcp_tool"]
    assert all(tool.output_schema is None for tool in tools)
    assert [tool.annotations and tool.annotations.read_only_hint for tool in tools] == [True, True, False]
    assert all((tool.meta or {})["anthropic/alwaysLoad"] is True for tool in tools)
    assert (tools[2].meta or {})["anthropic/maxResultSizeChars"] == 80_000
    assert '"title"' not in json.dumps([tool.input_schema for tool in tools])


async def test_the_result_budget_announced_to_clients_follows_the_setting(start: Start) -> None:
    for setting, announced in ((1_000, 1_000), (0, 500_000), (9_000_000, 500_000)):
        async with start({}, max_result_chars=setting) as running:
            call = (await running.client.list_tools()).tools[2]
        assert (call.meta or {})["anthropic/maxResultSizeChars"] == announced


def test_the_definitions_cost_a_model_at_most_300_tokens() -> None:
    tokenizer = Tokenizer.from_file(str(files("anthropic") / "tokenizer.json"))
    handed = [
        {"name": f"mcp__gateway__{name}", "description": gateway.DESCRIPTIONS[name], "input_schema": schema}
        for name, schema in gateway.SCHEMAS.items()
    ]
    assert len(tokenizer.encode(json.dumps(handed)).ids) <= 300


async def test_instructions_name_the_servers_that_are_ready(start: Start) -> None:
    entries = {
        "notes": child("friendly", description="Keeps notes"),
        "off": {"disabled": True},
        "short": child("friendly", env={"KEY": "${NO_SUCH_VARIABLE}"}),
    }
    async with start(entries) as running:
        instructions = running.client.instructions or ""
    assert "notes (Keeps notes)" in instructions
    assert "off" not in instructions
    assert "short" not in instructions


async def test_instructions_of_hundreds_of_servers_are_cut_honestly(start: Start) -> None:
    entries = {f"server-{number:03}": child("friendly") for number in range(400)}
    async with start(entries) as running:
        instructions = running.client.instructions or ""
    assert len(instructions.encode()) <= 2_048
    shown = instructions.count("server-")
    assert f"and {400 - shown} more" in instructions


async def test_looking_starts_nothing(start: Start, tmp_path: Path) -> None:
    marks = tmp_path / "starts"
    async with start({"counted": child("mute", marks)}) as running:
        assert "counted" in await running.list()
        assert "counted" in await running.list("anything")
    assert not marks.exists()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_list_load_and_call_work_for_clients_of_both_eras(start: Start, mode: str) -> None:
    async with start({"kind": child("friendly", description="For tests")}, mode=mode) as running:
        assert "- kind: For tests" in await running.list()
        loaded = await running.load("kind")
        assert "Be kind to this server." in loaded
        assert "echo(text: string, count?: integer, tags?: any[])" in loaded
        assert json.loads(await running.text("kind", "echo", {"text": "hi"})) == {"text": "hi"}
        assert "(19 tools, running)" in await running.list()


async def test_a_call_needs_no_load_and_a_load_no_list(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_a_search_shows_signatures_ready_to_be_called(start: Start) -> None:
    async with start({"kind": child("friendly"), "unseen": child("friendly")}) as running:
        await running.load("kind")
        found = await running.list("echo something")
    assert "kind.echo(text: string" in found
    assert "not known before load_mcp_tools(name): unseen" in found


async def test_an_exact_tool_name_shows_its_whole_schema(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        loaded = await running.load("kind", "read_once")
    assert '"readOnlyHint": true' in loaded
    assert '"properties":{"mark":{"type":"string"}}' in loaded
    assert "It is for tests." in loaded


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_result_arrives_as_the_server_sent_it(start: Start, mode: str) -> None:
    async with start({"kind": child("friendly")}, mode=mode) as running:
        result = await running.call("kind", "rich")
    kinds = [block.type for block in result.content]
    assert kinds == ["text", "image", "audio", "resource_link", "resource"]
    wire = result.model_dump(by_alias=True, exclude_none=True)
    assert wire["content"][0]["annotations"] == {"audience": ["user"], "priority": 0.5}
    assert wire["content"][0]["_meta"] == {"k": 1}
    assert wire["content"][3]["size"] == 3
    assert isinstance(result.content[1], ImageContent)
    assert wire["structuredContent"] == {"answer": 42, "nested": {"list": [1, 2.5, None, True]}}
    assert wire["_meta"]["vendor/key"] == ["kept"]
    assert result.is_error is False


async def test_an_unknown_block_costs_nothing_of_the_answer(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        caller = gateway.Caller()
        parameters = {"mcp_name": "kind", "tool_name": "strange"}
        result = await running.gateway.answer("call_mcp_tool", parameters, caller)
    assert result["content"] == [{"type": "hologram", "depth": 3}, {"type": "text", "text": "kept", "future": True}]
    assert result["later"] == {"field": 1}


async def test_is_error_is_kept(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert await running.error("kind", "fails", {"text": "fits"}) == "it went wrong"


async def test_an_error_of_the_protocol_keeps_code_message_and_data(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        with pytest.raises(MCPError) as caught:
            await running.call("kind", "refuses", {"text": "fits"})
    assert (caught.value.code, caught.value.message, caught.value.data) == (-32050, "refused", {"why": "because"})


async def test_progress_reaches_the_client(start: Start) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with start({"kind": child("friendly")}) as running:
        await running.call("kind", "steps", {"count": 3}, progress_callback=hear)
    assert heard == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_cancelled_call_is_cancelled_in_the_child_which_stays_usable(start: Start, mode: str) -> None:
    async with start({"kind": child("friendly")}, mode=mode) as running:
        first = json.loads(await running.text("kind", "where"))["pid"]
        with anyio.move_on_after(0.3):
            await running.call("kind", "slow")
        cancelled: list[Any] = []
        while not cancelled:
            cancelled = json.loads(await running.text("kind", "cancelled"))
        assert len(cancelled) == 1
        assert json.loads(await running.text("kind", "where"))["pid"] == first


async def test_a_call_that_runs_out_is_cancelled_in_the_child_which_stays_usable(start: Start) -> None:
    async with start({"kind": child("friendly")}, operation_timeout=0.5) as running:
        failure = await running.error("kind", "slow")
        assert "did not answer in time (GATEWAY_OPERATION_TIMEOUT=0.5)" in failure
        assert len(json.loads(await running.text("kind", "cancelled"))) == 1


async def test_an_entry_may_set_its_own_time_limits(start: Start) -> None:
    async with start({"kind": child("friendly", operation_timeout=0.5)}) as running:
        assert "operation_timeout=0.5 in its entry" in await running.error("kind", "slow")


async def test_what_the_client_sends_in_meta_reaches_the_tool(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        result = await running.call("kind", "where", meta={"vendor/trace": "t1"})
        assert json.loads(text_of(result))["meta"]["vendor/trace"] == "t1"


async def test_strings_that_spell_arguments_are_repaired_by_the_schema(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        asked: Any = json.dumps({"text": "5", "count": "5", "tags": '["a"]'})
        seen = json.loads(await running.text("kind", "echo", asked))
    assert seen == {"text": "5", "count": 5, "tags": ["a"]}


async def test_arguments_that_cannot_be_repaired_are_passed_on_as_given(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        seen = json.loads(await running.text("kind", "echo", {"text": 1, "count": "many", "extra": None}))
    assert seen == {"text": 1, "count": "many", "extra": None}


async def test_after_a_refusal_the_childs_answer_stands_first_and_the_diagnosis_after_it(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        result = await running.call("kind", "fails", {"txt": "misspelled"})
        texts = [getattr(block, "text", "") for block in result.content]
        with pytest.raises(MCPError) as caught:
            await running.call("kind", "refuses", {"text": 5})
    assert texts[0] == "it went wrong"
    assert "'text' is a required property" in texts[1]
    assert "Its signature: fails(text: string)" in texts[1]
    assert caught.value.message.startswith("refused\n")
    assert "refuses(text?: string)" in caught.value.message
    assert (caught.value.code, caught.value.data) == (-32050, {"why": "because"})


async def test_an_unknown_server_is_answered_with_near_names(start: Start) -> None:
    async with start({"filesystem": child("friendly")}) as running:
        assert 'Did you mean "filesystem"?' in await running.error("file-system", "read")


async def test_an_unknown_tool_is_answered_with_near_names(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        assert 'Did you mean "echo"?' in await running.error("kind", "ecko")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"tool_name": "echo"}, "mcp_name is missing"),
        ({"mcp_name": "kind"}, "tool_name is missing"),
        ({"mcp_name": "kind", "tool_name": "echo", "text": "hi"}, "no parameter text; the tool's own arguments"),
        ({"mcp_name": "kind", "tool_name": "echo", "arguments": "no json"}, "arguments must be an object"),
        ({"mcp_name": 5, "tool_name": "echo"}, "mcp_name is missing"),
    ],
)
async def test_wrong_parameters_of_our_own_are_explained(start: Start, parameters: dict[str, Any], says: str) -> None:
    async with start({"kind": child("friendly")}) as running:
        result = await running.client.call_tool("call_mcp_tool", parameters)
    assert result.is_error
    assert says in text_of(result)
    assert "Call it as call_mcp_tool(mcp_name" in text_of(result)


async def test_half_a_surrogate_pair_does_not_cost_the_answer(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        parameters = {"mcp_name": "kind", "tool_name": "half_pair"}
        result = await running.gateway.answer("call_mcp_tool", parameters, gateway.Caller())
    assert result["content"][0]["text"] == "\ud83d"


async def test_an_answer_that_is_not_an_object_fails_at_once(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        with pytest.raises(MCPError, match="not valid JSON-RPC"):
            await running.call("kind", "not_an_object")
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_a_bug_is_masked_and_written_to_the_log(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start({"kind": child("friendly")}) as running:
        monkeypatch.setattr(running.gateway, "lines", lambda: 1 / 0)
        with pytest.raises(MCPError, match="The gateway failed; its log has the reason") as caught:
            await running.list()
    assert "division" not in caught.value.message
    assert "ZeroDivisionError" in caplog.text


async def test_the_answer_of_a_modern_server_fits_a_client_of_the_handshake_era(start: Start) -> None:
    async with start({"new": child("modern")}, mode="legacy") as running:
        result = await running.call("new", "era")
    assert result.structured_content == {"result": [1, 2]}
    assert json.loads(text_of(result))["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


async def test_the_answer_of_a_modern_server_reaches_a_modern_client_as_it_is(start: Start) -> None:
    async with start({"new": child("modern")}) as running:
        result = await running.call("new", "era")
    assert result.structured_content == [1, 2]


async def test_what_a_server_asks_of_the_client_is_refused_at_once(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        answers = json.loads(await running.text("kind", "asks"))
    assert {answer["error"]["code"] for answer in answers} <= {-32600, -32601}
    assert len(answers) == 3


async def test_a_servers_log_messages_go_to_the_gateways_log(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with start({"kind": child("friendly")}) as running:
        await running.text("kind", "logs")
        while "kind says (warning): careful" not in caplog.text:
            await anyio.sleep(0.01)
