"""The main job, from nothing: `python3 scripts/try.py`.

Makes `.venv`, starts the gateway as a client would, with the bookshop of `examples/` behind it, and
shows list, load and call, and what that costs a model against the bookshop's own definitions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from environment import PROJECT, prepare

_CHARS_A_TOKEN = 4
"""A rough count for English and JSON; `bench/` counts with a tokenizer."""


class Client:
    """The least that an MCP client is: one process, a line of JSON a message."""

    def __init__(self, command: list[str], environ: Mapping[str, str]) -> None:
        """Start a server and shake hands with it."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environ}, encoding="utf-8"
        )
        self._id = 0
        info = {"name": "try", "version": "1"}
        self.request("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin  # noqa: S101 - it was started with a pipe
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of one request."""
        assert self.process.stdout  # noqa: S101 - it was started with a pipe
        self._id += 1
        self._write({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._id:
                return answer["result"]
        sys.exit(f"The server ended with exit code {self.process.wait()}.")

    def definitions(self) -> str:
        """What a client hands to its model of all tools."""
        tools = self.request("tools/list", {})["tools"]
        return json.dumps([{key: tool.get(key) for key in ("name", "description", "inputSchema")} for tool in tools])

    def call(self, tool: str, **arguments: Any) -> str:
        """The text of a tool's answer."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        text = "\n".join(block.get("text", "") for block in result["content"])
        if result.get("isError"):
            sys.exit(text)
        return text

    def close(self) -> None:
        """End the server, as a client does: by closing its input."""
        assert self.process.stdin  # noqa: S101 - it was started with a pipe
        self.process.stdin.close()
        self.process.wait(timeout=10)


def show(gateway: Client, tool: str, **arguments: Any) -> int:
    """Print a call and its answer; how many characters a model reads of it."""
    written = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
    print(f"\n>>> {tool}({written})")
    answer = gateway.call(tool, **arguments)
    print(answer)
    return len(answer)


def main() -> None:
    """Show the three tools at work."""
    python = prepare("requirements.txt")
    shop = [python, str(PROJECT / "examples" / "bookshop.py")]
    with tempfile.TemporaryDirectory() as home:
        entry = {"command": shop[0], "args": shop[1:], "description": "A bookshop to try things with"}
        (Path(home) / "servers.json").write_text(json.dumps({"mcpServers": {"bookshop": entry}}), encoding="utf-8")
        direct = Client(shop, {})
        direct_chars = len(direct.definitions())
        direct.close()
        gateway = Client([python, str(PROJECT / "gateway.py")], {"GATEWAY_HOME": home})
        own_chars = len(gateway.definitions())
        read = show(gateway, "list_available_mcps")
        read += show(gateway, "load_mcp_tools", mcp_name="bookshop")
        arguments = {"words": "knuth kernighan", "in_stock": True}
        show(gateway, "call_mcp_tool", mcp_name="bookshop", tool_name="search_books", arguments=arguments)
        gateway.close()
    print(
        f"\nTokens that stand before a model all the time (about, at {_CHARS_A_TOKEN} characters a token):"
        f"\n  {direct_chars // _CHARS_A_TOKEN:>6}  the bookshop directly, one small server of 6 tools"
        f"\n  {own_chars // _CHARS_A_TOKEN:>6}  the gateway, whatever stands behind it"
        f"\nThe list and the load above cost {read // _CHARS_A_TOKEN} more, in the conversations that need them."
    )


if __name__ == "__main__":
    main()
