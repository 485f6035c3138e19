"""Calls, cancellations, crashes, kills, restarts and edits of the servers file in any order, against a model.

What must hold: each call is answered once, by its own answer or by an error that something which happened to its
server explains; no server ever has two usable runs; in the end every server works, and no process is left.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from mcp.shared.exceptions import MCPError
from support import child, gateway_module, write_config

from mcp_gateway.caller import Caller, Client
from mcp_gateway.settings import Settings

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="processes are found and killed as POSIX has it"),
    pytest.mark.timeout(600),
]

NAMES: tuple[str, ...] = ("one", "two", "three")
PATIENCE = 60
SPOILT = (
    "ended with exit code 7|was ended by signal|closed its output|closed its input|was stopped|was restarted|"
    "did not start|There is no server|cannot be used|failed to start"
)
"""What an error may say after something has happened to the server."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was killed while it started is tried again sooner."""
    monkeypatch.setattr("mcp_gateway.member._PAUSE", 0.1)


@dataclass
class Asked:
    """One call that was made.

    Attributes:
        number: Its own number, which its answer carries.
        known: Whether its server stood in the file.
        safe: Whether nothing has happened to its server since it was seen to be well.
    """

    number: int
    server: str
    kind: str
    known: bool
    safe: bool
    answer: Future[tuple[bool, str]]


class Machine(RuleBasedStateMachine):
    """The gateway in a thread of its own, and a model of what has happened to its servers."""

    def __init__(self) -> None:
        """Start with all servers in the file, and none running."""
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.config = Path(self.folder.name) / "servers.json"
        self.entries: dict[str, dict[str, Any]] = {name: child("friendly", name) for name in NAMES}
        self.well: dict[str, bool] = dict.fromkeys(NAMES, True)
        self.calls: list[Asked] = []
        self.numbers = 0
        write_config(self.config, self.entries)
        chosen = Settings(home=Path(self.folder.name), operation_timeout=20, config=self.config)
        self.gateway = gateway_module.assemble(chosen, dict(os.environ))
        self.portal_context = start_blocking_portal()
        self.portal = self.portal_context.__enter__()
        self.running = self.portal.wrap_async_context_manager(self.gateway)
        self.running.__enter__()

    @rule(server=st.sampled_from(NAMES), kind=st.sampled_from(["echo", "echo", "slow", "crash", "fails", "refuses"]))
    def call(self, server: str, kind: str) -> None:
        """Make a call, and wait for nothing."""
        self.numbers += 1
        if kind == "crash":
            self._disturb(server)
        future = self.portal.start_task_soon(self._ask, server, kind, self.numbers)
        known = server in self.entries
        self.calls.append(Asked(self.numbers, server, kind, known, self.well[server], future))

    def _disturb(self, server: str) -> None:
        """Something happens to a server, and so to all its calls under way."""
        self.well[server] = False
        for asked in self.calls:
            asked.safe = asked.safe and asked.server != server

    async def _ask(self, server: str, kind: str, number: int) -> tuple[bool, str]:
        arguments = {"text": str(number), "seconds": 0.05}
        parameters = {"mcp_name": server, "tool_name": kind, "arguments": arguments}
        try:
            result = await self.gateway.answer("call_mcp_tool", parameters, Caller())
        except MCPError as exc:
            return False, f"{exc.code} {exc.message}"
        return result.get("isError") is not True, result["content"][0]["text"]

    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        """Give a call up."""
        if which < len(self.calls):
            self.calls[which].answer.cancel()

    @rule(which=st.integers(0, 5))
    def settle(self, which: int) -> None:
        """Wait for an answer."""
        if which < len(self.calls):
            self._judge(self.calls.pop(which))

    @rule(server=st.sampled_from(NAMES))
    def kill(self, server: str) -> None:
        """A person ends the server's processes."""
        self._disturb(server)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.cmdline()[-1:] == [server]:
                    process.send_signal(signal.SIGKILL)

    @rule(server=st.sampled_from(NAMES))
    def restart(self, server: str) -> None:
        """The model asks for it."""
        self._disturb(server)
        self.portal.call(self.gateway.pool.restart, server)

    @rule(server=st.sampled_from(NAMES), there=st.booleans())
    def edit(self, server: str, there: bool) -> None:  # noqa: FBT001
        """A person changes an entry, or takes it out."""
        self._disturb(server)
        self.entries.pop(server, None)
        if there:
            self.entries[server] = child("friendly", server, env={"VERSION": str(self.numbers + len(self.calls))})
        write_config(self.config, self.entries)

    @invariant()
    def no_server_has_two_usable_runs(self) -> None:
        """Two runs of one instance never overlap."""
        runs = self.portal.call(self.gateway.pool.runs_of, Client())
        assert all(count == 1 for count in Counter(run.entry.name for run in runs).values())

    @rule(server=st.sampled_from(NAMES))
    def calm(self, server: str) -> None:
        """All calls of a server are settled, and it is seen to be well."""
        for asked in [asked for asked in self.calls if asked.server == server]:
            self.calls.remove(asked)
            self._judge(asked)
        if server in self.entries:
            until = time.monotonic() + PATIENCE
            while not (answer := self._echo(server))[0]:
                assert re.search(SPOILT, answer[1]), answer
                assert time.monotonic() < until, answer
                time.sleep(0.05)
            self.well[server] = True

    def _echo(self, server: str) -> tuple[bool, str]:
        return self.portal.start_task_soon(self._ask, server, "echo", 0).result(PATIENCE)

    def _judge(self, asked: Asked) -> None:
        try:
            works, said = asked.answer.result(PATIENCE)
        except CancelledError:
            return
        if works:
            own = "slept" if asked.kind == "slow" else json.dumps({"text": str(asked.number), "seconds": 0.05})
            assert said == own
        elif asked.safe and not asked.known:
            assert f'There is no server "{asked.server}"' in said
        elif asked.safe:
            assert said == {"fails": "it went wrong", "refuses": "-32050 refused"}[asked.kind]
        elif said not in {"it went wrong", "-32050 refused"}:
            assert re.search(SPOILT, said), said

    def teardown(self) -> None:
        """Every call is answered, every server works, and nothing is left."""
        try:
            for name in NAMES:
                self.calm(name)
        finally:
            self.running.__exit__(None, None, None)
            self.portal_context.__exit__(None, None, None)
            self.folder.cleanup()
        assert not psutil.Process().children(recursive=True)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
