"""What the children share: a server loop of the handshake era, on the standard library alone."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Message = dict[str, Any]

LOCK = threading.Lock()


def send(message: Message) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message})
    with LOCK:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def answer(request: Message, result: Message) -> None:
    send({"id": request["id"], "result": result})


def refuse(request: Message, code: int, message: str, data: object = None) -> None:
    error: Message = {"code": code, "message": message}
    send({"id": request["id"], "error": error if data is None else {**error, "data": data}})


def text(value: str) -> Message:
    return {"content": [{"type": "text", "text": value}]}


def tool(name: str, properties: Message | None = None, required: Iterable[str] = (), **more: Any) -> Message:
    schema = {"type": "object", "properties": properties or {}, "required": list(required)}
    return {"name": name, "description": f"The tool {name}. It is for tests.", "inputSchema": schema, **more}


def requests() -> Iterator[Message]:
    for line in sys.stdin:
        yield json.loads(line)


def handshake(request: Message, version: str | None = None, **more: Any) -> None:
    answer(
        request,
        {
            "protocolVersion": version or request["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "child", "version": "1"},
            **more,
        },
    )


def serve(tools: list[Message], call: Callable[[Message], None], **more: Any) -> None:
    """Answers handshakes and lists; hands calls to `call(request)`, which answers them."""
    for request in requests():
        method = request.get("method")
        if method == "initialize":
            handshake(request, **more)
        elif method == "tools/list":
            answer(request, {"tools": tools})
        elif method == "tools/call":
            call(request)
        elif method == "ping":
            answer(request, {})
        elif "id" in request and "method" in request:
            refuse(request, -32601, "Method not found")


def hold(port: str) -> socket.socket:
    """Connects to a port of the test and keeps the connection: the kernel closes it with the process."""
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.sendall(b"alive\n")
    return connection
