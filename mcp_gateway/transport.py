"""How a server is reached: a program over stdio, or a URL over Streamable HTTP.

A transport is an async context manager around a `Link`. It is entered and left by the one task that
owns the run; leaving it stops the whole tree of a child, within the bounds of `process.STEP`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import anyio
import httpx2
from anyio.abc import ByteReceiveStream
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import RequestId

from mcp_gateway import logs
from mcp_gateway.environment import child_environment, find_command, install_hint
from mcp_gateway.errors import StartFailed
from mcp_gateway.process import Child, Command, Guard
from mcp_gateway.registry import Entry
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
    """

    read: Incoming
    write: Outgoing
    ended: anyio.Event
    how_it_ended: Callable[[], str]
    last_words: Callable[[], str] = field(default=lambda: "")
    written: set[RequestId] | None = None


Connect = Callable[[Entry], AbstractAsyncContextManager[Link]]
"""Opens a way to the server of an entry."""


class Connector:
    """Opens links; the seam that tests replace."""

    def __init__(self, home: Path, environ: Mapping[str, str], redact: logs.Redactor) -> None:
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
            link, drained = _link(child, log), anyio.Event()
            async with anyio.create_task_group() as tasks:
                try:
                    tasks.start_soon(_drain, child.stderr, log, drained)
                    tasks.start_soon(_watch, child, link)
                    yield link
                finally:
                    with anyio.CancelScope(shield=True):
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
        hint = install_hint(entry.command)
        raise StartFailed(entry.name, f'the command "{entry.command}" was not found ({hint})', lacks=entry.lacks)
    return Command(program, entry.args, env, entry.cwd)


async def _start(entry: Entry, command: Command, guard: Guard) -> Child:
    try:
        return await Child.start(command, guard)
    except (OSError, ValueError) as exc:
        raise StartFailed(entry.name, f'the command "{entry.command}" cannot be run ({exc})') from exc


def _link(child: Child, log: logs.ServerLog) -> Link:
    def on_noise(line: bytes, exc: NotAMessageError) -> None:
        log.line(f"[stdout, {exc}] {line[:_NOISE_CHARS].decode('utf-8', 'replace')}")

    stdout = child.stdout
    read = LineReader(lambda: stdout.receive(_READ_BYTES), on_noise=on_noise)
    write = LineWriter(child.stdin.send)
    return Link(read, write, read.ended, lambda: _exit_of(child), log.last_words, write.written)


def _exit_of(child: Child) -> str:
    code = child.returncode
    if code is None:
        return "closed its output"
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


async def _drain(stderr: ByteReceiveStream, log: logs.ServerLog, drained: anyio.Event) -> None:
    try:
        while True:
            log.feed(await stderr.receive())
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
    refusals: list[str] = []

    async def note_refusal(response: httpx2.Response) -> None:
        if response.is_error:
            refusals[:] = [
                f"{response.request.method} was answered with {response.status_code} {response.reason_phrase}"
            ]

    timeout = httpx2.Timeout(_HTTP_TIMEOUT, read=None)
    hooks = {"response": [note_refusal]}
    with anyio.CancelScope() as scope:
        async with (
            httpx2.AsyncClient(headers=entry.headers, timeout=timeout, event_hooks=hooks) as client,
            streamable_http_client(entry.url, http_client=client) as (read, write),
        ):
            watched = Watched(read)
            try:
                yield Link(watched, write, watched.ended, lambda: "closed the connection", lambda: "".join(refusals))
            finally:
                scope.deadline = anyio.current_time() + _HTTP_CLOSE_LIMIT
