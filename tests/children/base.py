"""What the children share: a server loop of the handshake era, on the standard library alone."""

import json
import socket
import sys
import threading

LOCK = threading.Lock()


def send(message):
    line = json.dumps({"jsonrpc": "2.0", **message})
    with LOCK:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def answer(request, result):
    send({"id": request["id"], "result": result})


def refuse(request, code, message, data=None):
    error = {"code": code, "message": message}
    send({"id": request["id"], "error": error if data is None else {**error, "data": data}})


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def tool(name, properties=None, required=(), **more):
    schema = {"type": "object", "properties": properties or {}, "required": list(required)}
    return {"name": name, "description": f"The tool {name}. It is for tests.", "inputSchema": schema, **more}


def requests():
    for line in sys.stdin:
        yield json.loads(line)


def handshake(request, version=None, **more):
    answer(
        request,
        {
            "protocolVersion": version or request["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "child", "version": "1"},
            **more,
        },
    )


def serve(tools, call, **more):
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


def hold(port):
    """Connects to a port of the test and keeps the connection: the kernel closes it with the process."""
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.sendall(b"alive\n")
    return connection
