"""The gateway over Streamable HTTP, for several clients at once.

On loopback without a password; on any other address only with a token, which every request must bring. The
names under which the server may be reached are checked, so that no web page can talk to it (DNS rebinding).
A client of the handshake era is its session. One of 2026-07-28 has none: it is told apart by its token, address,
name and URL, and `/mcp/ANY-NAME` gives it a URL of its own.

Source: MCP specification 2025-11-25 and 2026-07-28, basic/transports.
"""

from __future__ import annotations

import hmac
import logging
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_gateway import logs
from mcp_gateway.address import PATH, Address
from mcp_gateway.wire import MAX_LINE_BYTES

logger = logging.getLogger(logs.LOGGER)

_CLOSE_LIMIT = 1
"""Seconds that open streams get when the server ends."""
_MOST_SESSIONS = 1_000
_SCHEMES = ("http", "https")
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


def security(address: Address, hosts: tuple[str, ...]) -> TransportSecuritySettings:
    """Which `Host` and `Origin` headers are let in: those of this machine, of the address, and `hosts`."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    own = () if address.host in {"0.0.0.0", "::"} else (host,)  # noqa: S104 - compared, not bound
    names = [*_LOCAL_NAMES, *own, *hosts]
    return TransportSecuritySettings(
        allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
        allowed_origins=[f"{scheme}://{name}{port}" for name in names for scheme in _SCHEMES for port in ("", ":*")],
    )


class Guarded:
    """Lets in who brings the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Stand before `app`."""
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        if scope["type"] != "http" or hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse("A token is needed.", 401, {"WWW-Authenticate": "Bearer"})
        await refusal(scope, receive, send)


def make_app(server: Server[Any], allowed: TransportSecuritySettings, token: str) -> ASGIApp:
    """The ASGI application that serves `server`."""
    sessions = StreamableHTTPSessionManager(
        server, security_settings=allowed, max_request_body_size=MAX_LINE_BYTES, max_sessions=_MOST_SESSIONS
    )
    endpoint = StreamableHTTPASGIApp(sessions)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with sessions.run():
            yield

    app = Starlette(routes=[Route(PATH, endpoint), Route(f"{PATH}/{{client}}", endpoint)], lifespan=lifespan)
    return Guarded(app, token) if token else app


class _Web(uvicorn.Server):
    """Uvicorn without its signal handlers, for the gateway has its own."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


async def serve(app: ASGIApp, listener: socket.socket, stop: anyio.Event) -> None:
    """Serves until `stop` is set."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_CLOSE_LIMIT, lifespan="on"
    )
    web = _Web(config)
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await stop.wait()
            web.should_exit = True

        tasks.start_soon(end)
        await web.serve(sockets=[listener])
        tasks.cancel_scope.cancel()
