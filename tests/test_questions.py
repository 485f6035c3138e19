"""What a server asks during a call, and how it reaches a client of either era."""

from __future__ import annotations

import json
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client import ClientRequestContext
from support import Start, child, gateway_module, text_of

from mcp_gateway import parking, questions
from mcp_gateway.caller import Client as Peer
from mcp_gateway.caller import carried, wants
from mcp_gateway.conversation import Conversation
from mcp_gateway.registry import TimeLimit

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
FORM: dict[str, Any] = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": SCHEMA}}
SAMPLE: dict[str, Any] = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}
BOTH = pytest.mark.parametrize("mode", ["legacy", "auto"])


class Person:
    """Answers elicitations, each when it is let."""

    def __init__(self, *, ready: bool = True) -> None:
        """Answer at once, or when `go` is set."""
        self.asked: list[types.ElicitRequestParams] = []
        self.go = anyio.Event()
        if ready:
            self.go.set()

    async def __call__(self, _: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        """The SDK's elicitation callback."""
        self.asked.append(params)
        await self.go.wait()
        return types.ElicitResult(action="accept", content={"name": "Ada"})


@BOTH
async def test_an_answer_reaches_the_server_as_the_client_gave_it(start: Start, mode: str) -> None:
    async with start({"asks": child("asker")}, mode=mode, elicitation_callback=Person()) as running:
        told = json.loads(await running.text("asks", "ask", FORM))
    assert (told["action"], told["content"]) == ("accept", {"name": "Ada"})


@BOTH
async def test_a_server_is_told_what_the_client_can_do_and_no_more(start: Start, mode: str) -> None:
    async with start({"asks": child("asker")}, mode=mode) as running:
        assert json.loads(await running.text("asks", "declared")) == {}
    async with start({"asks": child("asker")}, mode=mode, elicitation_callback=Person()) as running:
        assert set(json.loads(await running.text("asks", "declared"))) == {"elicitation"}


@BOTH
async def test_what_the_client_cannot_do_is_refused_with_the_reason(start: Start, mode: str) -> None:
    async with start({"asks": child("asker")}, mode=mode, elicitation_callback=Person()) as running:
        told = json.loads(await running.text("asks", "ask", SAMPLE))
    assert (told["code"], told["message"]) == (-32601, "the client of this gateway does not support sampling")


@BOTH
async def test_the_clock_of_a_call_stands_still_while_a_person_is_asked(start: Start, mode: str) -> None:
    person = Person(ready=False)
    async with start(
        {"asks": child("asker")}, mode=mode, elicitation_callback=person, operation_timeout=0.5
    ) as running:
        answers: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                answers.append(await running.text("asks", "ask", FORM))

            tasks.start_soon(ask)
            while not person.asked:
                await anyio.sleep(0.01)
            await anyio.sleep(1)  # longer than the call may take
            person.go.set()
        assert "Ada" in answers[0]


@BOTH
async def test_a_question_that_nobody_answers_ends_in_time(start: Start, mode: str) -> None:
    person = Person(ready=False)
    entries = {"asks": child("asker")}
    async with start(entries, mode=mode, elicitation_callback=person, question_timeout=0.3) as running:
        if mode == "legacy":
            told = json.loads(await running.text("asks", "ask", FORM))
            assert told["message"] == "the client did not answer within 0.3 s (GATEWAY_QUESTION_TIMEOUT=0.3)"
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_let_go, person, 1.0)
                assert "is not waiting for it" in await running.error("asks", "ask", FORM)
        assert running.pool.state("asks") == "running"


async def _let_go(person: Person, seconds: float) -> None:
    await anyio.sleep(seconds)
    person.go.set()


@BOTH
async def test_a_client_that_gives_up_while_it_is_asked_ends_the_servers_call(start: Start, mode: str) -> None:
    person = Person(ready=False)
    async with start({"asks": child("asker")}, mode=mode, elicitation_callback=person) as running:
        with anyio.move_on_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(running.call, "asks", "ask", FORM)
                while not person.asked:
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
        if mode == "legacy":
            while "gave up" not in await running.text("asks", "cancelled"):
                await anyio.sleep(0.01)


async def test_a_parked_call_goes_on_with_the_clients_next_request(start: Start) -> None:
    async with start({"asks": child("asker")}, elicitation_callback=Person()) as running:
        session = running.client.session
        call = {"mcp_name": "asks", "tool_name": "ask", "arguments": FORM}
        asked = await session.call_tool("call_mcp_tool", call, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        ((key, question),) = (asked.input_requests or {}).items()
        assert isinstance(question, types.ElicitRequest)
        without = await session.call_tool(
            "call_mcp_tool", call, request_state=asked.request_state, allow_input_required=True
        )
        assert isinstance(without, types.InputRequiredResult), "the question stands until it is answered"
        answer = types.ElicitResult(action="decline")
        done = await session.call_tool(
            "call_mcp_tool", call, input_responses={key: answer}, request_state=asked.request_state
        )
        assert json.loads(text_of(done))["action"] == "decline"
        again = await session.call_tool(
            "call_mcp_tool", call, input_responses={key: answer}, request_state=asked.request_state
        )
        assert again.is_error
        assert "is not waiting for it" in text_of(again)


async def test_parked_calls_are_bounded_in_number(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "_MOST_OF_ONE", 2)
    async with start({"asks": child("asker")}, elicitation_callback=Person()) as running:
        session, call = running.client.session, {"mcp_name": "asks", "tool_name": "ask", "arguments": FORM}
        for _ in range(2):
            asked = await session.call_tool("call_mcp_tool", call, allow_input_required=True)
            assert isinstance(asked, types.InputRequiredResult)
        refused = await session.call_tool("call_mcp_tool", call, allow_input_required=True)
        assert isinstance(refused, types.CallToolResult)
        assert "too many calls of this client wait" in text_of(refused)


async def test_parked_calls_end_with_their_client(start: Start) -> None:
    async with start({"asks": child("asker")}, elicitation_callback=Person()) as running:
        call = {"mcp_name": "asks", "tool_name": "ask", "arguments": FORM}
        session = running.client.session
        asked = await session.call_tool("call_mcp_tool", call, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        running.gateway.house.parking.leave(Peer("another client"))
        assert len(running.gateway.house.parking) == 1
        running.gateway.house.parking.leave(Peer())
        while len(running.gateway.house.parking):
            await anyio.sleep(0.01)
        while "gave up" not in await running.text("asks", "cancelled"):
            await anyio.sleep(0.01)


@BOTH
async def test_a_question_that_was_put_to_a_call_which_ends_goes_on_by_another(start: Start, mode: str) -> None:
    async with start({"asks": child("asker")}, mode=mode, elicitation_callback=Person()) as running:
        answers: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def ask_late(answers: list[str] = answers) -> None:
                answers.append(await running.text("asks", "ask_late"))

            tasks.start_soon(ask_late)
            while not any(run.in_flight for run in running.pool.runs_of(Peer())):
                await anyio.sleep(0.01)
            await running.text("asks", "pid")  # it has read the call before this one
            assert await running.text("asks", "end", FORM) == "ended"
        assert all("Ada" in answer for answer in answers)


async def test_a_state_of_another_gateway_goes_to_the_server_that_gave_it(start: Start) -> None:
    state = "mcp-gateway/parked/of-another/gateway"
    async with start({"new": child("modern")}, elicitation_callback=Person()) as running:
        assert await running.text("new", "asks", {"state": state}) == "taken up"


async def test_a_question_outside_of_any_call_reaches_a_client_that_can_be_asked(start: Start) -> None:
    person = Person()
    async with start({"asks": child("asker")}, mode="legacy", elicitation_callback=person) as running:
        assert await running.text("asks", "ask_later", FORM) == "later"
        while "Ada" not in await running.text("asks", "told"):
            await anyio.sleep(0.01)


async def test_a_question_outside_of_any_call_of_a_modern_client_is_refused_at_once(start: Start) -> None:
    async with start({"asks": child("asker")}, elicitation_callback=Person()) as running:
        await running.text("asks", "ask_later", FORM)
        await anyio.sleep(0.5)
        said = await running.text("asks", "told")
    assert "no call of the client is under way" in said


async def test_a_modern_server_that_asks_a_client_that_cannot_answer_is_a_clear_error(start: Start) -> None:
    async with start({"new": child("modern")}, mode="legacy") as running:
        said = await running.error("new", "asks")
    assert said.startswith('The server "new" asks for input before it answers, and the client of this gateway does not')


async def test_a_modern_server_that_never_has_enough_is_stopped(start: Start) -> None:
    person = Person()
    async with start({"new": child("modern")}, mode="legacy", elicitation_callback=person) as running:
        said = await running.error("new", "asks")
    assert "does so for more than 10 rounds" in said
    assert len(person.asked) == 10


async def test_a_result_of_an_extension_is_refused_clearly(start: Start) -> None:
    for mode in ("legacy", "auto"):
        async with start({"new": child("modern")}, mode=mode) as running:
            said = await running.error("new", "task")
        assert 'answered with a "task", which belongs to an extension' in said


async def test_tasks_of_the_gateway_itself_are_refused(start: Start) -> None:
    async with start({}, mode="legacy") as running:
        request: Any = types.Request[dict[str, Any], str](method="tasks/list", params={})
        with pytest.raises(gateway_module.MCPError, match="does not carry tasks"):
            await running.client.session.send_request(request, types.EmptyResult)


NOTHING: dict[str, Any] = {}
ASKABLE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("elicitation/create", {}, {"elicitation": {}}, ""),
    ("elicitation/create", {"mode": "form"}, {"elicitation": {"url": {}}}, "elicitation in form mode"),
    ("elicitation/create", {"mode": "url"}, {"elicitation": {}}, "elicitation in url mode"),
    ("elicitation/create", {"mode": "url"}, {"elicitation": {"form": {}, "url": {}}}, ""),
    ("sampling/createMessage", {"tools": [NOTHING]}, {"sampling": {}}, "tools in sampling"),
    ("sampling/createMessage", {"tools": [NOTHING]}, {"sampling": {"tools": {}}}, ""),
    ("roots/list", {}, {}, "does not support roots"),
]


@pytest.mark.parametrize(("method", "params", "capabilities", "says"), ASKABLE)
def test_who_can_be_asked_what(method: str, params: dict[str, Any], capabilities: dict[str, Any], says: str) -> None:
    why = questions.obstacle(method, params, capabilities)
    assert says in why
    assert bool(why) is bool(says)


def test_only_what_can_be_passed_on_is_declared() -> None:
    assert carried({"roots": {"listChanged": True}, "sampling": None, "extensions": {"x": {}}, "tasks": {}}) == {
        "roots": {"listChanged": True}
    }
    assert carried("nonsense") == {}


def test_log_messages_are_for_those_who_asked() -> None:
    assert wants("warning", "info")
    assert not wants("debug", "info")
    assert not wants("warning", "")
    assert not wants("shout", "info")


def test_questions_in_a_result_are_checked() -> None:
    good = {"inputRequests": {"a": {"method": "roots/list"}}, "requestState": "s"}
    assert questions.requests_of(good) == {"a": ("roots/list", {})}
    with pytest.raises(ValueError, match='"tools/call" is nothing that a client can be asked'):
        questions.requests_of({"inputRequests": {"a": {"method": "tools/call", "params": {}}}})


async def test_notices_that_a_client_does_not_read_are_left_out_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.conversation._MOST_OPEN", 5)
    told: list[object] = []
    reads = anyio.Event()

    async def tell(_: str, params: object) -> None:
        told.append(params)
        await reads.wait()

    talk = Conversation("flood", Peer(log_level="debug", tell=tell), TimeLimit(1, "test"), lambda _: None)
    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(talk.heard, "notifications/message", {"level": "info", "data": number})
        await anyio.wait_all_tasks_blocked()
        assert len(told) == 5
        async with anyio.create_task_group() as waiting:
            for _ in range(2):
                waiting.start_soon(talk.delivered)
            await anyio.wait_all_tasks_blocked()
            reads.set()
    await talk.heard("notifications/message", {"level": "info", "data": "later"})
    assert len(told) == 6
