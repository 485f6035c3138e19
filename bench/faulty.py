"""A server for the soak, on the standard library alone: does to each call what its argument says."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

TOOLS = [{"name": "do", "inputSchema": {"type": "object"}}]


def send(message: dict[str, Any]) -> None:
    """One line."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any]) -> None:
    """Answers a call, or does what goes wrong."""
    arguments = request["params"]["arguments"]
    fault, text = arguments["fault"], [{"type": "text", "text": arguments["nonce"]}]
    if fault == "crash":
        os._exit(3)
    elif fault == "hang":
        return
    elif fault == "refuse":
        send({"id": request["id"], "error": {"code": -32050, "message": arguments["nonce"]}})
    elif fault == "twice":
        send({"id": request["id"], "result": {"content": text}})
        send({"id": request["id"], "result": {"content": text}})
    elif fault == "stranger":
        send({"id": 987_654_321, "result": {"content": []}})
        send({"id": request["id"], "result": {"content": text}})
    else:
        if fault == "noise":
            sys.stdout.write("no JSON at all\n\x00{half a line\n")
        send({"id": request["id"], "result": {"content": text, "isError": fault == "fail"}})


def main() -> None:
    """Serve the handshake era."""
    for line in sys.stdin:
        request = json.loads(line)
        method = request.get("method")
        if method == "initialize":
            version = request["params"]["protocolVersion"]
            info = {"name": "faulty", "version": "1"}
            result: dict[str, Any] = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            send({"id": request["id"], "result": result})
        elif method == "tools/list":
            send({"id": request["id"], "result": {"tools": TOOLS}})
        elif method == "tools/call":
            answer(request)
        elif "id" in request:
            send({"id": request["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
