"""A server on version 2 of the SDK over Streamable HTTP, which lets in who brings a token.

Writes its port into the file that is its argument.
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


def guarded(app: ASGIApp) -> ASGIApp:
    """Answers 401 to a request without the token."""

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", []))
        if scope["type"] == "http" and headers.get(b"authorization") != b"Bearer let-me-in":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return check


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    Path(sys.argv[1]).write_text(f"{listener.getsockname()[1]}\n")
    config = uvicorn.Config(guarded(server.streamable_http_app()), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])
