"""How a server is reached: a program over stdio, or a URL over Streamable HTTP.

A transport is an async context manager around a `Link`. It is entered and left by the one task that
owns the run; leaving it stops the whole tree of a child, within the bounds of `process.STEP`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import anyio
import anyio.lowlevel
import httpx2
from anyio.abc import ByteReceiveStream
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import RequestId

from mcp_gateway import logs
from mcp_gateway.environment import child_environment, find_command, why_not_found
from mcp_gateway.errors import StartFailed
from mcp_gateway.process import Child, Command, Guard
from mcp_gateway.registry import Entry
from mcp_gateway.secrets import Redactor
from mcp_gateway.wire import Incoming, LineReader, LineWriter, NotAMessageError

logger = logging.getLogger(logs.LOGGER)

_READ_BYTES = 1 << 18
_HTTP_TIMEOUT = 30
"""Seconds to connect and to write; how long an answer may take is the caller's to say."""
_HTTP_CLOSE_LIMIT = 1.0
"""A session over HTTP is ended by a request of its own, which a dead server would not answer."""
_LAST_OUTPUT_LIMIT = 0.2
"""How long to read on after the process has ended, for what it said last is still in its pipes."""
_NOISE_CHARS = 500
_NOT_FOUND = 404


class Messages(Protocol):
    """The SDK's stream of messages from a peer."""

    async def receive(self) -> SessionMessage | Exception:
        """The next message."""
        ...

    async def aclose(self) -> None:
        """Read no more."""
        ...


class Outgoing(Protocol):
    """The SDK's stream of messages to a peer."""

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message."""
        ...

    async def aclose(self) -> None:
        """Write no more."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None: ...


@dataclass
class Link:
    """An open way to a server.

    Attributes:
        read, write: Messages, as the SDK's dispatcher takes them.
        ended: Set when no more messages can come.
        how_it_ended: The end of a sentence whose subject is the server.
        last_words: What the server said last outside the protocol.
        written: Ids of requests that have left; None where the transport cannot tell.
        statuses: Errors of HTTP by the id of the request that they answered.
        expired: Ids of requests that a server refused unread, for it has forgotten the session.
    """

    read: Incoming
    write: Outgoing
    ended: anyio.Event
    how_it_ended: Callable[[], str]
    last_words: Callable[[], str] = field(default=lambda: "")
    written: set[RequestId] | None = None
    statuses: dict[RequestId, str] = field(default_factory=dict["RequestId", str])
    expired: set[RequestId] = field(default_factory=set["RequestId"])


Connect = Callable[[Entry], AbstractAsyncContextManager[Link]]
"""Opens a way to the server of an entry."""


class Connector:
    """Opens links; the seam that tests replace."""

    def __init__(self, home: Path, environ: Mapping[str, str], redact: Redactor) -> None:
        """Keep what all children share: the log folder, the environment, the guard."""
        self._home = home
        self._environ = environ
        self._redact = redact
        self._guard = Guard()

    def __call__(self, entry: Entry) -> AbstractAsyncContextManager[Link]:
        """A way to the entry's server, not yet open."""
        return self._stdio(entry) if entry.kind == "stdio" else _http(entry)

    def close(self) -> None:
        """Give back what all children share."""
        self._guard.close()

    @asynccontextmanager
    async def _stdio(self, entry: Entry) -> AsyncGenerator[Link]:
        command = prepare(entry, self._environ)
        log = logs.ServerLog(self._home, entry.name, self._redact)
        try:
            child = await _start(entry, command, self._guard)
            end = _End(child)
            link, drained = _link(child, log, end), anyio.Event()
            async with anyio.create_task_group() as tasks:
                try:
                    tasks.start_soon(_drain, child.stderr, log, drained)
                    tasks.start_soon(_watch, child, link)
                    yield link
                finally:
                    with anyio.CancelScope(shield=True):
                        await end.note(link)
                        await child.stop()
                        with anyio.move_on_after(_LAST_OUTPUT_LIMIT):
                            await drained.wait()
                    tasks.cancel_scope.cancel()
        finally:
            log.close()


def prepare(entry: Entry, environ: Mapping[str, str]) -> Command:
    """The command of a stdio entry, found as a person's shell would find it.

    Raises:
        StartFailed: There is no such program, or no such folder.
    """
    env = child_environment(environ, entry.env)
    if entry.cwd and not Path(entry.cwd).is_dir():
        raise StartFailed(entry.name, f'its folder "{entry.cwd}" does not exist')
    program = find_command(entry.command, env, entry.cwd)
    if program is None:
        raise StartFailed(entry.name, why_not_found(entry.command, env, entry.cwd), lacks=entry.lacks)
    return Command(program, entry.args, env, entry.cwd)


async def _start(entry: Entry, command: Command, guard: Guard) -> Child:
    try:
        return await Child.start(command, guard)
    except (OSError, ValueError) as exc:
        raise StartFailed(entry.name, f'the command "{entry.command}" cannot be run ({exc})') from exc


def _link(child: Child, log: logs.ServerLog, end: _End) -> Link:
    def on_noise(line: bytes, exc: NotAMessageError) -> None:
        log.line(f"[stdout, {exc}] {line[:_NOISE_CHARS].decode('utf-8', 'replace')}")

    stdout = child.stdout
    write = LineWriter(child.stdin.send)
    read = LineReader(lambda: stdout.receive(_READ_BYTES), on_noise=on_noise, answered=lambda: write.answered)
    return Link(read, write, read.ended, end.__str__, log.last_words, write.written)


class _End:
    """How a child came to its end, seen before the gateway puts an end to what is left of it."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._closed_its_output = False
        self._trouble = ""

    async def note(self, link: Link) -> None:
        """Look once more, now that the run is over: the exit follows the end of the output."""
        if link.ended.is_set():
            with anyio.move_on_after(_LAST_OUTPUT_LIMIT):
                await self._child.wait()
        self._closed_its_output = self._child.returncode is None
        self._trouble = link.read.trouble

    def __str__(self) -> str:
        if self._trouble:
            return f"was stopped: it {self._trouble}"
        code = self._child.returncode
        if code is None or self._closed_its_output:
            return "closed its output"
        return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


async def _drain(stderr: ByteReceiveStream, log: logs.ServerLog, drained: anyio.Event) -> None:
    try:
        while True:
            log.feed(await stderr.receive())
            await anyio.lowlevel.checkpoint()  # a flood is always there to be read
    except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        drained.set()


async def _watch(child: Child, link: Link) -> None:
    """A process that has ended is gone, even while something that it started holds its pipes open."""
    await child.wait()
    with anyio.move_on_after(_LAST_OUTPUT_LIMIT):
        await link.ended.wait()
    link.ended.set()


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


@asynccontextmanager
async def _http(entry: Entry) -> AsyncGenerator[Link]:
    refusals = _Refusals()
    timeout = httpx2.Timeout(_HTTP_TIMEOUT, read=None)
    hooks = {"response": [refusals.note]}
    with anyio.CancelScope() as scope:
        async with (
            httpx2.AsyncClient(headers=entry.headers, timeout=timeout, event_hooks=hooks) as client,
            streamable_http_client(entry.url, http_client=client) as (read, write),
        ):
            watched = Watched(read)
            refusals.session_ended = watched.ended
            try:
                yield Link(
                    watched,
                    write,
                    watched.ended,
                    lambda: "closed the connection",
                    statuses=refusals.statuses,
                    expired=refusals.expired,
                )
            finally:
                scope.deadline = anyio.current_time() + _HTTP_CLOSE_LIMIT


class _Refusals:
    """Errors of HTTP, as the client's hook sees them before the SDK makes errors of the protocol of them."""

    def __init__(self) -> None:
        self.statuses: dict[RequestId, str] = {}
        self.expired: set[RequestId] = set()
        self.session_ended = anyio.Event()

    async def note(self, response: httpx2.Response) -> None:
        """Called with every response."""
        if not response.is_error:
            return
        request_id = _request_id(response.request)
        if response.status_code == _NOT_FOUND and "mcp-session-id" in response.request.headers:
            self.expired.add(request_id)
            self.session_ended.set()  # specification 2025-11-25, basic/transports: a new session is needed
        elif not response.headers.get("content-type", "").startswith("application/json"):
            # JSON may be an error of the protocol, which the SDK passes on.
            self.statuses[request_id] = f"{response.status_code} {response.reason_phrase}"


def _request_id(request: httpx2.Request) -> RequestId:
    try:
        return json.loads(request.content)["id"]
    except (ValueError, KeyError, TypeError, httpx2.RequestNotRead):
        return ""
