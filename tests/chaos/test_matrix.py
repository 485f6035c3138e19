"""The fault matrix: each row a hostile server, each column a promise that holds all the same.

- answered: the call is answered in time, by the result or by an error that says what failed;
- siblings: another server answers meanwhile;
- next: once the fault is gone, the server works again, without a restart of the gateway;
- nothing left: when the gateway ends, no process, descriptor or task is left.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psutil
import pytest
from mcp.shared.exceptions import MCPError
from support import Running, Start, child

from mcp_gateway.caller import Caller, as_dict
from mcp_gateway.results import refused

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="faults are signals and pipes")]

STAGES = ("start", "server/discover", "initialize", "list", "call")
CRASHES = [f"{fault} at {stage}" for fault in ("crash", "hang", "killed", "stopped") for stage in STAGES]
ENDS = r"did not start|was ended|ended with|closed its output|did not answer in time|was stopped: it|is still starting"
FAILS = {
    **dict.fromkeys(CRASHES, ENDS),
    "crash in the answer": "ended with exit code 3",
    "end of output in the answer": "closed its output",
    "an endless line": "sent a line of more than",
    "endless noise": "did not answer in time",
    "endless stderr": "did not answer in time",
    "a flood of questions": "asked more than 100 times|did not answer in time",
    "a grandchild with the pipes": "ended with exit code 3",
    "a number as result": "not valid",
    "null as result": "not valid",
    "no result and no error": "not valid",
    "an error that is text": "not valid",
    "an error without a code": "not valid",
    "no answer": "did not answer in time",
    "a number as handshake": "did not start: it answered with error -32603: The server's answer is not valid",
    "a handshake without fields": "did not start: its first answer is not valid",
    "a handshake of a later age": "did not start",
    "error -32000 for the handshake": "did not start: it answered with error -32000: set FOO_KEY",
    "an error for a handshake": "did not start: it answered with error -32603: not today",
}
"""What the failure says, where the call must fail."""
WORKS = (
    "crash behind the answer", "an answer in pieces", "three answers", "foreign answers", "a flood of noise",
    "a flood on stderr", "a flood of list_changed", "a flood of notices", "garbage", "tools that are no list",
    "tools that are no tools", "no answer to the list", "error -32000 for the list", "an error for a list",
    "a list of a million", "deaf to the end",
    "an empty result", "content that is no list", "blocks that are no objects", "endless pages",
)  # fmt: skip
"""Where it must not, for the answer comes."""
MAY_LACK_THE_TOOL = {"tools that are no tools", "a list of a million", "endless pages"}
LIMITS = {"start_limit": 6.0, "init_timeout": 20.0}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, sooner: what is tested is that they hold."""
    monkeypatch.setattr("mcp_gateway.pulse.AFTER_TIMEOUT", 0.5)
    monkeypatch.setattr("mcp_gateway.member._PAUSE", 0.3)
    monkeypatch.setattr("mcp_gateway.listing._LIST_LIMIT", 1.0)
    monkeypatch.setattr("mcp_gateway.wire.MAX_LINE_BYTES", 1 << 22)
    monkeypatch.setattr("mcp_gateway.listing._MAX_CHARS", 1_000_000)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else psutil.Process().num_fds()


@asynccontextmanager
async def nothing_left() -> AsyncGenerator[None]:
    """Fails where a process, a descriptor or a task is left that was not there before."""
    before = descriptors(), asyncio.all_tasks(), set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before[2]
    assert not left, "processes"
    await anyio.wait_all_tasks_blocked()
    assert not {task for task in asyncio.all_tasks() - before[1] if not task.done()}, "tasks"
    assert descriptors() <= before[0], "descriptors"


async def answer(running: Running) -> tuple[bool, str]:
    """Whether the call worked, and what it was answered with, as it is before a client has read it."""
    parameters = {"mcp_name": "hostile", "tool_name": "work"}
    try:
        with anyio.fail_after(25):
            result = await running.gateway.answer("call_mcp_tool", parameters, Caller())
    except MCPError as exc:
        return False, str(exc)
    return not refused(result), " ".join(map(_text, result.get("content") or []))


def _text(block: object) -> str:
    return str(as_dict(block).get("text", block))


async def sibling(running: Running) -> None:
    """Another server answers."""
    with anyio.fail_after(20):
        for _ in range(5):
            assert "hi" in await running.text("kind", "echo", {"text": "hi"})


@pytest.mark.parametrize("fault", [*FAILS, *WORKS])
async def test_every_promise_holds(start: Start, tmp_path: Path, fault: str) -> None:
    file = tmp_path / "fault"
    entries = {"hostile": child("hostile", fault, file), "kind": child("friendly")}
    async with start(entries) as running:  # what is opened once and kept, is not left
        await running.text("kind", "echo", {"text": "hi"})
    file.touch()
    answered: list[tuple[bool, str]] = []
    limits = {**LIMITS, "operation_timeout": 2.0 if fault in FAILS else 20.0}
    async with nothing_left(), start(entries, **limits) as running:

        async def call() -> None:
            answered.append(await answer(running))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            tasks.start_soon(sibling, running)
        ((works, said),) = answered
        if fault in FAILS:
            assert not works, said
            assert re.search(FAILS[fault], said), said
        elif fault not in MAY_LACK_THE_TOOL:
            assert works or "no tool" in said, said
        file.unlink()
        with anyio.fail_after(25):
            while not (again := await answer(running))[0]:
                assert re.search(f"{ENDS}|failed to start|no tool", again[1]), again[1]
                await anyio.sleep(0.1)
        await sibling(running)


def test_no_row_is_missing() -> None:
    source = (Path(__file__).parent.parent / "children" / "hostile.py").read_text()
    known = set(re.findall(r'^    "([^"]+)": ', source, re.MULTILINE))
    assert known
    assert known <= {*FAILS, *WORKS}
