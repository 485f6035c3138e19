"""The server named `gateway`: what a model can ask of the gateway itself, through the same three tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_gateway import results
from mcp_gateway.caller import Caller
from mcp_gateway.errors import BadParameters, GatewayError, UnknownTool, trust_command
from mcp_gateway.knowledge import Knowledge, Tool
from mcp_gateway.menu import counted
from mcp_gateway.pool import Pool
from mcp_gateway.registry import RESERVED
from mcp_gateway.results import Result, text_result
from mcp_gateway.search import near_names, words
from mcp_gateway.signature import signature
from mcp_gateway.store import Store
from mcp_gateway.trust import counted_changes

PURPOSE = "the gateway itself: read on in a result that was cut, status, restart or refresh a server"

_NAME = {"mcp_name": {"type": "string", "description": "A server's name."}}
_PAGE = 40_000


def _tool(name: str, description: str, properties: dict[str, Any], *required: str, reads: bool) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    hints = {"readOnlyHint": reads}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


TOOLS: tuple[Tool, ...] = (
    _tool(
        "read_result",
        "Read on in a result that was cut, from a character, or around the places where a pattern stands.",
        {
            "id": {"type": "string", "description": "The id that the cut result names, such as r7."},
            "offset": {"type": "integer", "minimum": 0, "default": 0},
            "limit": {"type": "integer", "minimum": 1, "default": _PAGE},
            "pattern": {"type": "string", "description": "Plain words to look for, instead of an offset."},
        },
        "id",
        reads=True,
    ),
    _tool("status", "What each server is doing, and why one has failed.", {}, reads=True),
    _tool("restart", "Stop a server's processes; the next call starts it afresh.", _NAME, "mcp_name", reads=False),
    _tool("refresh", "Start a server and learn its tools anew.", _NAME, "mcp_name", reads=True),
)
KNOWLEDGE = Knowledge(TOOLS)


def matching(query: str) -> list[Tool]:
    """The built-in tools that have a word of the query."""
    wanted = set(words(query))
    return [tool for tool in TOOLS if wanted & {*words(str(tool["name"])), *words(str(tool["description"]))}]


class Builtin:
    """Answers calls of the built-in server's tools."""

    def __init__(self, pool: Pool, store: Store, budget: int) -> None:
        """Speak of `pool`; read from `store`, at most `budget` characters at a time (0: no limit)."""
        self._pool = pool
        self._store = store
        self._budget = budget

    async def call(self, tool: str, arguments: Mapping[str, Any], caller: Caller) -> Result:
        """The answer of one tool.

        Raises:
            GatewayError: There is no such tool, or its arguments are wrong.
        """
        if tool == "read_result":
            return text_result(self._read(arguments))
        if tool == "status":
            return text_result(self._status())
        if tool == "restart":
            return text_result(self._restart(self._server(tool, arguments), caller))
        if tool == "refresh":
            return text_result(await self._refresh(self._server(tool, arguments), caller))
        raise UnknownTool(RESERVED, tool, near_names(tool, KNOWLEDGE.names))

    def _read(self, arguments: Mapping[str, Any]) -> str:
        result_id, pattern = str(arguments.get("id") or ""), arguments.get("pattern")
        text = self._store.read(result_id)
        if text is None:
            raise self._bad("read_result", f'there is no result "{result_id}" (any more); make the call again')
        if isinstance(pattern, str) and pattern:
            return results.matches(text, result_id, pattern)
        offset, limit = self._number(arguments, "offset", 0), self._number(arguments, "limit", _PAGE)
        most = min(limit, self._budget) if self._budget else limit
        return results.page(text, result_id, min(offset, len(text)), max(most, 1))

    def _number(self, arguments: Mapping[str, Any], name: str, otherwise: int) -> int:
        value = arguments.get(name, otherwise)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._bad("read_result", f"{name} has to be a whole number, 0 or more")
        return value

    def _status(self) -> str:
        lines: list[str] = []
        for name, entry in self._pool.registry.entries.items():
            known = self._pool.known(entry)
            tools = counted(len(known.tools), "tool") if known else "tools not known yet"
            if known and (changed := counted_changes(known)):
                tools += f", {changed} changed, not yet trusted (a person runs: {trust_command(name)})"
            state = self._pool.state(name) or ("not ready" if entry.obstacle else "not running")
            reason = entry.obstacle or self._pool.failure(name)
            lines.append(f"{name}: {state}, {tools}{f' ({reason})' if reason else ''}")
        return "\n".join(lines) or "No servers are configured."

    def _restart(self, name: str, caller: Caller) -> str:
        count = self._pool.restart(name, caller.client)
        return f'{counted(count, "run")} of "{name}" told to stop; the next call starts it afresh.'

    async def _refresh(self, name: str, caller: Caller) -> str:
        knowledge = await self._pool.knowledge(name, caller, fresh=True)
        return f'"{name}" is ready with {counted(len(knowledge.tools), "tool")}.'

    def _server(self, tool: str, arguments: Mapping[str, Any]) -> str:
        name = arguments.get("mcp_name")
        if not isinstance(name, str) or not name:
            raise self._bad(tool, "mcp_name is missing")
        return self._pool.entry(name).name

    @staticmethod
    def _bad(tool: str, reason: str) -> GatewayError:
        definition = KNOWLEDGE.tool(tool) or {}
        return BadParameters(f"{RESERVED}.{tool}", reason, signature(definition))
