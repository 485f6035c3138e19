"""The gateway as a process, and a client that holds the two ends of its pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support import PROJECT, write_config

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


class Host:
    """A client that holds the two ends of the gateway's pipes, as a program with a window would."""

    def __init__(self, home: Path, environ: Mapping[str, str], wrapper: Sequence[str] = ()) -> None:
        """Start the gateway in a group of its own, by the words of `wrapper` if there are any."""
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, str(PROJECT / "gateway.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "GATEWAY_HOME": str(home), **environ},
            start_new_session=True,
        )
        self._next_id = 1
        self.other: list[dict[str, Any]] = []

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Read one message; every line on stdout has to be one."""
        assert self.process.stdout
        message = json.loads(self.process.stdout.readline())
        assert message["jsonrpc"] == "2.0"
        return message

    def initialize(self) -> None:
        """The handshake."""
        self.send(INITIALIZE)
        assert self.receive()["result"]["serverInfo"]["name"] == "gateway"
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def start_call(self, server: str, tool: str, arguments: Mapping[str, Any] | None = None) -> int:
        """Send a call and wait for nothing."""
        self._next_id += 1
        parameters = {"mcp_name": server, "tool_name": tool, "arguments": arguments or {}}
        params = {"name": "call_mcp_tool", "arguments": parameters}
        self.send({"jsonrpc": "2.0", "id": self._next_id, "method": "tools/call", "params": params})
        return self._next_id

    def call(self, server: str, tool: str, arguments: Mapping[str, Any] | None = None) -> str:
        """The text of a call's answer."""
        expected = self.start_call(server, tool, arguments)
        message = self.receive()
        assert message["id"] == expected
        return message["result"]["content"][0]["text"]

    def end(self) -> None:
        """Whatever a test has left of it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


StartHost = Callable[..., Any]


@pytest.fixture
def host(tmp_path: Path) -> StartHost:
    """A gateway process over these entries, with these variables, as a context."""

    @contextmanager
    def run(entries: Mapping[str, Any], wrapper: Sequence[str] = (), **environ: str) -> Generator[Host]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        write_config(home / "servers.json", entries)
        one = Host(home, environ, wrapper)
        try:
            yield one
        finally:
            one.end()

    return run
