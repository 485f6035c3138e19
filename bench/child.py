"""The server that the benchmarks call: the standard library alone, so that it costs as little as it can."""

from __future__ import annotations

import json
import sys
from typing import Any

TOOLS = [
    {"name": "echo", "description": "Say it back.", "inputSchema": {"type": "object"}},
    {"name": "big", "description": "So many bytes.", "inputSchema": {"type": "object"}},
]


def result_of(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The answer to one request, or None for a method that there is not."""
    if method == "tools/call":
        size: int = params["arguments"].get("size", 0)
        return {"content": [{"type": "text", "text": "x" * size or "pong"}]}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "initialize":
        info = {"name": "bench", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    return None


def main() -> None:
    """Answer line by line until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        result = result_of(request["method"], request.get("params") or {})
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": request["id"]}
        answer |= {"result": result} if result is not None else {"error": {"code": -32601, "message": "no"}}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
