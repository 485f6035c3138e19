"""The gateway's own end of the wire: stdin and stdout of its process, and the signals that end it.

On POSIX both are pipes of the event loop; the SDK's own transport goes through worker threads, three
hops a message, and serves where the loop cannot (Windows, and a file as stdin). While serving,
descriptor 0 is the null device and descriptor 1 is stderr, so that no stray output reaches the wire.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
from mcp.server.stdio import stdio_server

from mcp_gateway import logs
from mcp_gateway.wire import LineReader, LineWriter, NotAMessageError

logger = logging.getLogger(logs.LOGGER)

_BUFFER = 1 << 20
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))

Streams = tuple[Any, Any]
"""The SDK's pair of a read and a write stream."""


def stdio(on_end: Callable[[], None]) -> AbstractAsyncContextManager[Streams]:
    """Streams over this process's stdin and stdout; `on_end` is called once where stdin ends."""
    return _pipes(on_end) if sys.platform != "win32" and _pollable(0) and _pollable(1) else stdio_server()


def _pollable(descriptor: int) -> bool:
    """Whether the event loop can wait for it: a pipe, a socket or a terminal, not a file."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return (mode & 0o170000) in {0o010000, 0o140000, 0o020000} and not _is_null(descriptor)


def _is_null(descriptor: int) -> bool:
    with suppress(OSError):
        return os.fstat(descriptor).st_rdev == os.stat(os.devnull).st_rdev
    return False


@asynccontextmanager
async def _pipes(on_end: Callable[[], None]) -> AsyncGenerator[Streams]:
    loop = asyncio.get_running_loop()
    stdin, stdout = _take(0, os.O_RDONLY), _take(1, os.O_WRONLY)
    reader = asyncio.StreamReader(limit=_BUFFER)
    incoming, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(stdin, "rb", 0))
    outgoing, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(stdout, "wb", 0)
    )
    outgoing.set_write_buffer_limits(high=0)  # an answer counts as written when the system has it
    writer = asyncio.StreamWriter(outgoing, protocol, None, loop)

    async def send(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    try:
        yield LineReader(lambda: reader.read(_BUFFER), on_noise=_ignore, on_end=on_end), LineWriter(send)
    finally:
        incoming.close()
        outgoing.close()


def _ignore(line: bytes, exc: NotAMessageError) -> None:
    logger.debug("the client sent what is no message (%s): %.200r", exc, line)


def _take(descriptor: int, mode: int) -> int:
    """Move a standard descriptor out of the reach of children and of stray prints."""
    private = os.dup(descriptor)
    stand_in = os.open(os.devnull, mode) if descriptor == 0 else os.dup(2)
    os.dup2(stand_in, descriptor)
    os.close(stand_in)
    return private


class Ending:
    """Waits for a signal to end; after the clean-up, the process dies by that same signal."""

    def __init__(self) -> None:
        """No signal has come yet."""
        self.received: signal.Signals | None = None

    async def watch(self, then: Callable[[], None]) -> None:
        """Calls `then` at the first signal; later ones change nothing, for the clean-up is bounded."""
        try:
            with anyio.open_signal_receiver(*_SIGNALS) as signals:
                async for received in signals:
                    if self.received is None:
                        self.received = received
                        then()
        except NotImplementedError:  # Windows' loop has no signals; Ctrl-C raises KeyboardInterrupt there
            return

    def die(self) -> None:
        """Leave by the signal that came, so that whoever waits for this process sees the truth."""
        if self.received is not None:
            signal.signal(self.received, signal.SIG_DFL)
            os.kill(os.getpid(), self.received)
