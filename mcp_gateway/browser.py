"""A person's log-in at a remote server: a browser that comes back to a port of this machine, or a pasted URL."""

from __future__ import annotations

import asyncio
import socket
import webbrowser
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthFlowError, OAuthRegistrationError, OAuthTokenError
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_PROTOCOL_VERSION_HEADER
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from mcp_gateway import __version__
from mcp_gateway.errors import GatewayError
from mcp_gateway.oauth import Login, Stored
from mcp_gateway.registry import Entry
from mcp_gateway.tokens import TokenFile

_PATH = "/callback"
_LIMIT = 600.0
"""Seconds for a person to log in."""
_TIMEOUT = 30.0
_ERRORS = 400
_DONE = "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{text}\n"

Say = Callable[[str], None]
Paste = Callable[[], Awaitable[str]]


class LoginError(GatewayError):
    """A log-in that did not come to its end, with the reason."""


@dataclass(frozen=True)
class Ways:
    """How a person is reached.

    Attributes:
        say: Shows a line.
        paste: Waits for a line that the person gives; None where there is no terminal.
        browse: Opens a URL; whether that could be done.
    """

    say: Say
    paste: Paste | None
    browse: Callable[[str], bool] = webbrowser.open


async def log_in(entry: Entry, home: Path, ways: Ways) -> str:
    """Logs a person in, and keeps what that yields; what came of it, as a sentence.

    Raises:
        LoginError: It did not work.
    """
    if entry.kind == "stdio":
        raise LoginError(f'"{entry.name}" is a program, not a URL: it gets its credentials by its env.')
    if not entry.login:
        raise LoginError(f'The entry of "{entry.name}" brings its own credentials; there is nothing to log in for.')
    try:
        with anyio.fail_after(_LIMIT):
            status, asked = await _ask(entry, TokenFile(home, entry.url), ways)
    except TimeoutError as exc:
        raise LoginError(f"Nobody logged in within {_LIMIT:g} s.") from exc
    except (ValueError, OAuthFlowError, OAuthTokenError, OAuthRegistrationError, httpx2.HTTPError, OSError) as exc:
        raise LoginError(f'The log-in at "{entry.name}" failed: {exc or type(exc).__name__}') from exc
    return _outcome(entry.name, status, asked=asked)


def _outcome(name: str, status: int, *, asked: bool) -> str:
    if status in {401, 403} and asked:
        raise LoginError(f'"{name}" answered {status} even after the log-in; does this account have access?')
    if asked:
        return f'You are logged in at "{name}".'
    if status >= _ERRORS:
        raise LoginError(f'"{name}" answered {status} and offers no log-in; check its url.')
    return f'"{name}" lets you in without a log-in.'


async def _ask(entry: Entry, storage: TokenFile, ways: Ways) -> tuple[int, bool]:
    """The status that the server answers with in the end, and whether the person had to be asked."""
    answers: asyncio.Queue[str] = asyncio.Queue()

    async def redirect(url: str) -> None:
        ways.say(f"Log in here:\n\n  {url}\n")
        if not ways.browse(url):
            ways.say("No browser could be opened. Open that URL anywhere, on any machine.")

    async def callback() -> AuthorizationCodeResult:
        return _result(await _first(answers, ways))

    async with _callback_server(_usual_port(storage), answers) as port:
        redirect_uri = f"http://127.0.0.1:{port}{_PATH}"
        auth = Login(entry, storage, redirect_uri, redirect_handler=redirect, callback_handler=callback)
        return await _knock(entry, auth), auth.done


async def _knock(entry: Entry, auth: Login) -> int:
    """Sends first requests until the server asks for a log-in, as far as their status; some ask at the second."""
    accept = {"Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(auth=auth, headers={**entry.headers, **accept}, timeout=_TIMEOUT) as client:
        if entry.kind == "sse":
            return (await _sent(client, client.build_request("GET", entry.url))).status_code
        first = await _sent(client, client.build_request("POST", entry.url, json=_request("initialize", _HELLO)))
        if auth.done:
            return first.status_code
        session = {name: first.headers[name] for name in ("mcp-session-id",) if name in first.headers}
        listing = _request("tools/list", {} if first.is_success else {"_meta": _ENVELOPE})
        version = LATEST_HANDSHAKE_VERSION if first.is_success else LATEST_MODERN_VERSION
        headers = {**session, MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: "tools/list"}
        second = await _sent(client, client.build_request("POST", entry.url, json=listing, headers=headers))
        return second.status_code if auth.done else min(first.status_code, second.status_code)


async def _sent(client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
    answer = await client.send(request, stream=True)
    await answer.aclose()
    return answer


def _request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


_ME = {"name": "claude-mcp-gateway", "version": __version__}
_HELLO: dict[str, Any] = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": _ME}
_ENVELOPE: dict[str, Any] = {
    PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
    CLIENT_INFO_META_KEY: _ME,
    CLIENT_CAPABILITIES_META_KEY: {},
}


async def log_out(entry: Entry, home: Path) -> str:
    """Tells the issuer that the token is not needed any more, where it wants to know, and forgets it."""
    storage = TokenFile(home, entry.url)
    if not storage.exists():
        return f'Nobody is logged in at "{entry.name}".'
    grant = storage.grant
    endpoint = grant.metadata.revocation_endpoint if grant.metadata is not None else None
    if endpoint is not None and grant.tokens is not None and grant.client is not None:
        token = grant.tokens.refresh_token or grant.tokens.access_token
        provider = Stored(entry, storage)
        provider.context.client_info = grant.client
        data, headers = provider.context.prepare_token_auth({"token": token, "client_id": grant.client.client_id}, {})
        with suppress(httpx2.HTTPError):
            async with httpx2.AsyncClient(timeout=_TIMEOUT) as client:
                await client.post(str(endpoint), data=data, headers=headers)
    storage.forget()
    return f'You are logged out of "{entry.name}".'


def _usual_port(storage: TokenFile) -> int:
    """The port of an earlier log-in, for an issuer may insist on the URL that was registered; else any."""
    client = storage.grant.client
    port = next((uri.port for uri in (client.redirect_uris or [])), None) if client is not None else None
    if port:
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    return 0


@asynccontextmanager
async def _callback_server(port: int, answers: asyncio.Queue[str]) -> AsyncGenerator[int]:
    """Listens for the browser's return, on loopback alone; yields the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, asyncio.IncompleteReadError):
            line = (await reader.readline()).decode("ascii", "replace").split(" ")
            path = line[1] if len(line) > 1 else ""
            if urlsplit(path).path == _PATH:
                answers.put_nowait(path)
                text = _DONE.format(status="200 OK", text="You are logged in. You can close this window.")
            else:
                text = _DONE.format(status="404 Not Found", text="Nothing is here.")
            writer.write(text.encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _first(answers: asyncio.Queue[str], ways: Ways) -> str:
    """What comes first: the browser, or a URL that the person pastes."""
    got: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def browser() -> None:
            got.append(await answers.get())
            tasks.cancel_scope.cancel()

        async def pasted() -> None:
            if ways.paste is None:
                return
            ways.say("If the browser is on another machine, paste the URL of the page that it ends on:")
            while line := await ways.paste():
                if "code=" in line or "error=" in line:
                    got.append(line.strip())
                    tasks.cancel_scope.cancel()
                    return
                ways.say("That URL holds no code; paste the whole URL from the address line:")

        tasks.start_soon(browser)
        tasks.start_soon(pasted)
    return got[0]


def _result(url: str) -> AuthorizationCodeResult:
    found = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    if "error" in found:
        raise OAuthFlowError(f"{found['error']} {found.get('error_description', '')}".strip())
    return AuthorizationCodeResult(code=found.get("code", ""), state=found.get("state"), iss=found.get("iss"))
