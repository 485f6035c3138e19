"""A server on version 2 of the SDK over Streamable HTTP, which lets in who brings a token.

Writes its port into the file that is its first argument; the second is the port, or 0 for any.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from starlette.types import ASGIApp, Receive, Scope, Send

server = MCPServer("web")


@server.tool()
def whoami(ctx: Context) -> str:
    """Says which token it was called with."""
    return (ctx.headers or {})["authorization"]


@server.tool()
def busy() -> str:
    """Is never reached: the guard answers in its place."""
    return "not busy"


def guarded(app: ASGIApp) -> ASGIApp:
    """Answers 401 to a request without the token, and 503 to a call of `busy`."""

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", []))
        status = 503 if headers.get(b"mcp-name") == b"busy" else 200
        if scope["type"] == "http" and headers.get(b"authorization") != b"Bearer let-me-in":
            status = 401
        if status == 200:
            await app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return check


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
    Path(sys.argv[1]).write_text(f"{listener.getsockname()[1]}\n")
    config = uvicorn.Config(guarded(server.streamable_http_app()), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])
