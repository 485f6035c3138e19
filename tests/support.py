"""What the tests share: entries for the children, a gateway in memory, a port that tells who is alive."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client
from mcp_types import CallToolResult, TextContent

PROJECT = Path(__file__).resolve().parent.parent
CHILDREN = PROJECT / "tests" / "children"
sys.path.insert(0, str(PROJECT))

import gateway as gateway_module  # noqa: E402 - found only now
from mcp_gateway.pool import Pool  # noqa: E402

Entries = Mapping[str, Mapping[str, Any]]


def child(script: str, *args: object, **more: object) -> dict[str, Any]:
    """An entry for one of the children."""
    return {"command": sys.executable, "args": [str(CHILDREN / f"{script}.py"), *map(str, args)], **more}


def text_of(result: CallToolResult) -> str:
    """The text of a result that is one text."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@dataclass
class Running:
    """A gateway, and a client that talks to it."""

    client: Client
    gateway: gateway_module.Gateway
    config: Path

    async def call(self, server: str, tool: str, arguments: object = None, **more: Any) -> CallToolResult:
        """`call_mcp_tool`."""
        parameters: dict[str, Any] = {"mcp_name": server, "tool_name": tool, "arguments": arguments or {}}
        return await self.client.call_tool("call_mcp_tool", parameters, **more)

    async def text(self, server: str, tool: str, arguments: object = None) -> str:
        """The text that a tool answers with."""
        result = await self.call(server, tool, arguments)
        assert not result.is_error, result
        return text_of(result)

    async def error(self, server: str, tool: str, arguments: object = None) -> str:
        """The text of a failed call."""
        result = await self.call(server, tool, arguments)
        assert result.is_error, result
        return text_of(result)

    async def load(self, server: str, query: str = "") -> str:
        """The text of `load_mcp_tools`."""
        return text_of(await self.client.call_tool("load_mcp_tools", {"mcp_name": server, "query": query}))

    async def list(self, query: str = "") -> str:
        """The text of `list_available_mcps`."""
        return text_of(await self.client.call_tool("list_available_mcps", {"query": query}))

    def write(self, entries: Entries) -> None:
        """Edit the servers file, as a person would."""
        write_config(self.config, entries)

    @property
    def pool(self) -> Pool:
        """The gateway's pool."""
        return self.gateway.pool


def write_config(file: Path, entries: Entries) -> None:
    """A servers file with these entries; its time differs from that of the one before."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(json.dumps({"mcpServers": entries}))
    os.utime(file, ns=(before + 10**9, before + 10**9))


Start = Callable[..., AbstractAsyncContextManager[Running]]


class Liveness:
    """A port that children hold connections to; the kernel closes them with their processes."""

    def __init__(self) -> None:
        """Listen on a free port of loopback."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self._held: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def expect(self, count: int) -> None:
        """Wait until that many processes have connected."""
        for _ in range(count):
            connection, _ = self._listener.accept()
            connection.settimeout(20)
            assert connection.recv(6) == b"alive\n"
            self._held.append(connection)

    def alive(self) -> int:
        """How many of them still run."""
        count = 0
        for connection in self._held:
            connection.settimeout(0)
            try:
                count += connection.recv(1) != b""
            except BlockingIOError:
                count += 1
            except ConnectionError:
                pass
        return count

    def wait_for_end(self) -> None:
        """Wait until the kernel has closed every connection; fails after 20 s."""
        for connection in self._held:
            connection.settimeout(20)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""

    def close(self) -> None:
        """Give back the sockets."""
        for connection in (*self._held, self._listener):
            connection.close()
