"""Servers over HTTP: Streamable HTTP by the SDK's client, and SSE as it was before.

What the SDK makes of an error of HTTP says little, so a hook of the HTTP client keeps what it was. A session that
a server has forgotten, or a stream that broke, ends the link; the next call opens another one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import anyio
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import RequestId

from mcp_gateway import logs
from mcp_gateway.errors import StartFailed, http_advice
from mcp_gateway.link import Link, Outgoing
from mcp_gateway.registry import Entry
from mcp_gateway.wire import MAX_LINE_BYTES, Closing, Incoming, LineReader, NotAMessageError, encode

logger = logging.getLogger(logs.LOGGER)

_TIMEOUT = 30
"""Seconds to connect and to write; how long an answer may take is the caller's to say."""
_CLOSE_LIMIT = 1.0
"""A session over HTTP is ended by a request of its own, which a dead server would not answer."""
_NOT_FOUND = 404
_UNREAD = {400, 401, 403, 404, 405, 413, 415, 429}
"""After these a message was surely not taken; any other error may come behind what the server has done."""
_WANTS_LOGIN = {401, 403}
_JSON = "application/json"
_EVENTS = "text/event-stream"


class Messages(Protocol):
    """The SDK's stream of messages from a peer."""

    async def receive(self) -> SessionMessage | Exception:
        """The next message."""
        ...

    async def aclose(self) -> None:
        """Read no more."""
        ...


class Watched(Incoming):
    """A stream of the SDK's, which also says when it has ended."""

    def __init__(self, inner: Messages) -> None:
        """Read from `inner`."""
        super().__init__()
        self._inner = inner

    async def receive(self) -> SessionMessage | Exception:
        """See `Incoming.receive`."""
        try:
            return await self._inner.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self.ended.set()
            raise

    async def aclose(self) -> None:
        """Read no more."""
        self.ended.set()
        await self._inner.aclose()


class Refusals:
    """Errors of HTTP, as hooks of the client see them before the SDK makes errors of the protocol of them."""

    def __init__(self, *, posts_answer: bool) -> None:
        """With `posts_answer` a request is answered in the response to its POST, as Streamable HTTP does it."""
        self.statuses: dict[RequestId, str] = {}
        self.dropped: set[RequestId] = set()
        self.expired: set[RequestId] = set()
        self.written: set[RequestId] = set()
        self.session_ended = anyio.Event()
        self._posts_answer = posts_answer
        self.last = ""

    async def note_request(self, request: httpx2.Request) -> None:
        """Called with every request, before it is sent."""
        if request.method == "POST":
            self.written.add(_request_id(request))

    async def note(self, response: httpx2.Response) -> None:
        """Called with every response."""
        request = response.request
        if response.headers.get("content-type", "").startswith(_EVENTS) and request.method == "POST":
            request_id = _request_id(request)
            response.stream = _ToTheEnd(response.stream, lambda: self.dropped.add(request_id))
        if not response.is_error or request.url.path.startswith("/.well-known/"):
            return
        request_id = _request_id(request)
        status = f"{response.status_code} {response.reason_phrase}"
        self.last = status
        if not self._posts_answer and request.method == "POST":
            if response.status_code in _UNREAD:
                self.expired.add(request_id)
            self.session_ended.set()  # nobody would answer on the stream either
        elif response.status_code == _NOT_FOUND and "mcp-session-id" in request.headers:
            self.expired.add(request_id)
            self.session_ended.set()  # specification 2025-11-25, basic/transports: a new session is needed
        elif response.status_code in _WANTS_LOGIN or not response.headers.get("content-type", "").startswith(_JSON):
            self.statuses[request_id] = status  # other JSON may be an error of the protocol, which the SDK passes on

    def how_it_ended(self) -> str:
        """The end of a sentence whose subject is the server."""
        refused = self.last and not self._posts_answer
        return f"answered {self.last}" if refused else "closed the connection"


class _ToTheEnd(httpx2.AsyncByteStream):
    """The body of a response, which says so when it is read to its end: who has the answer reads no further."""

    def __init__(self, inner: Any, on_end: Callable[[], None]) -> None:
        self._inner = inner
        self._on_end = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._inner:
                yield piece
        except httpx2.HTTPError:
            self._on_end()
            raise
        self._on_end()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _request_id(request: httpx2.Request) -> RequestId:
    try:
        return json.loads(request.content)["id"]
    except (ValueError, KeyError, TypeError, httpx2.RequestNotRead):
        return ""


def connect(entry: Entry, auth: httpx2.Auth | None) -> AbstractAsyncContextManager[Link]:
    """A way to the entry's server, not yet open."""
    return _sse(entry, auth) if entry.kind == "sse" else _streamable(entry, auth)


def _link(read: Messages, write: Outgoing, refusals: Refusals) -> Link:
    watched = Watched(read)
    refusals.session_ended = watched.ended
    return Link(
        watched,
        write,
        watched.ended,
        refusals.how_it_ended,
        written=refusals.written,
        statuses=refusals.statuses,
        dropped=refusals.dropped,
        expired=refusals.expired,
    )


@asynccontextmanager
async def _streamable(entry: Entry, auth: httpx2.Auth | None) -> AsyncGenerator[Link]:
    refusals = Refusals(posts_answer=True)
    with anyio.CancelScope() as scope:
        async with (
            _http_client(entry.headers, auth, refusals) as client,
            streamable_http_client(entry.url, http_client=client, max_sse_event_size=MAX_LINE_BYTES) as (read, write),
        ):
            try:
                yield _link(read, write, refusals)
            finally:
                scope.deadline = anyio.current_time() + _CLOSE_LIMIT


@asynccontextmanager
async def _sse(entry: Entry, auth: httpx2.Auth | None) -> AsyncGenerator[Link]:
    """One stream of answers, and a POST for each message; specification 2024-11-05, basic/transports.

    The SDK's client of this transport reads no event of more than 1 MB and keeps the failure of a POST to itself.
    """
    refusals = Refusals(posts_answer=False)
    async with (
        _http_client(entry.headers, auth, refusals) as client,
        client.stream("GET", entry.url, headers={"Accept": _EVENTS, "Cache-Control": "no-store"}) as response,
    ):
        if response.is_error:
            raise StartFailed(entry.name, f"{entry.url} {http_advice(refusals.last, entry.login)}")
        events = _events(response)
        endpoint = await _endpoint(entry, events)
        read = LineReader(lambda: _next_message(events), on_noise=_ignore)
        refusals.session_ended = read.ended
        write = _Poster(client, endpoint, refusals)
        yield Link(read, write, read.ended, refusals.how_it_ended, expired=refusals.expired)


async def _events(response: httpx2.Response) -> AsyncGenerator[httpx2.ServerSentEvent]:
    try:
        async for event in httpx2.EventSource(response, max_event_size=MAX_LINE_BYTES):
            yield event
    except (httpx2.HTTPError, httpx2.StreamError) as exc:
        logger.info("a stream of events broke off: %s", exc or type(exc).__name__)


async def _endpoint(entry: Entry, events: AsyncGenerator[httpx2.ServerSentEvent]) -> str:
    """Where messages are posted, which the first event says; at the same origin, for it gets the same headers."""
    async for event in events:
        if event.event == "endpoint":
            endpoint = httpx2.URL(entry.url).join(event.data)
            if endpoint.copy_with(path="/", query=None) != httpx2.URL(entry.url).copy_with(path="/", query=None):
                raise StartFailed(entry.name, f"{entry.url} sends messages to another place, {endpoint.host}")
            return str(endpoint)
    raise StartFailed(entry.name, f"{entry.url} is no server of this transport: it named no endpoint")


async def _next_message(events: AsyncGenerator[httpx2.ServerSentEvent]) -> bytes:
    async for event in events:
        if event.event == "message" and event.data:
            return event.data.replace("\n", " ").encode() + b"\n"
    return b""


class _Poster(Closing):
    """Messages by a POST each."""

    def __init__(self, client: httpx2.AsyncClient, endpoint: str, refusals: Refusals) -> None:
        self._client = client
        self._endpoint = endpoint
        self._refusals = refusals

    async def send(self, item: SessionMessage, /) -> None:
        """Post one message.

        Raises:
            anyio.BrokenResourceError: The server did not take it.
        """
        headers = {"Content-Type": _JSON}
        try:
            response = await self._client.post(self._endpoint, content=encode(item.message), headers=headers)
        except httpx2.HTTPError as exc:
            self._refusals.session_ended.set()
            raise anyio.BrokenResourceError from exc
        if response.is_error:
            raise anyio.BrokenResourceError

    async def aclose(self) -> None:
        """The stream ends the session."""


def _ignore(line: bytes, exc: NotAMessageError) -> None:
    logger.debug("a server sent what is no message (%s): %.200r", exc, line)


def _http_client(headers: Any, auth: httpx2.Auth | None, refusals: Refusals) -> httpx2.AsyncClient:
    timeout = httpx2.Timeout(_TIMEOUT, read=None)
    hooks = {"request": [refusals.note_request], "response": [refusals.note]}
    return httpx2.AsyncClient(headers=headers, auth=auth, timeout=timeout, event_hooks=hooks)
