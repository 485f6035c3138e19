"""The gateway's own end of the wire: stdin and stdout of its process, and the signals that end it.

On POSIX both are pipes of the event loop (or plain files); the SDK's own transport goes through worker
threads, three hops a message, and serves on Windows, where the loop cannot wait for them. While serving,
descriptor 0 is the null device and descriptor 1 is stderr, so that no stray output reaches the wire.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
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
    return stdio_server() if sys.platform == "win32" else _own(on_end)


@asynccontextmanager
async def _own(on_end: Callable[[], None]) -> AsyncGenerator[Streams]:
    stdin, stdout = _take(0, os.O_RDONLY), _take(1, os.O_WRONLY)
    blocking = [(descriptor, os.get_blocking(descriptor)) for descriptor in (stdin, stdout)]
    async with AsyncExitStack() as ends:
        receive = await _reading(stdin, ends)
        send = await _writing(stdout, ends)
        try:
            yield LineReader(receive, on_noise=_ignore, on_end=on_end), LineWriter(send)
        finally:
            for descriptor, before in blocking:  # a terminal is shared with whoever started this process
                with suppress(OSError):  # the loop has closed it where the other end has gone
                    os.set_blocking(descriptor, before)


async def _reading(descriptor: int, ends: AsyncExitStack) -> Callable[[], Awaitable[bytes]]:
    if not _pollable(descriptor):

        async def read_file() -> bytes:
            return os.read(descriptor, _BUFFER)

        return read_file
    reader = asyncio.StreamReader(limit=_BUFFER)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    ends.callback(transport.close)
    return lambda: reader.read(_BUFFER)


async def _writing(descriptor: int, ends: AsyncExitStack) -> Callable[[bytes], Awaitable[None]]:
    if not _pollable(descriptor):

        async def write_file(data: bytes) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

        return write_file
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(descriptor, "wb", 0)
    )
    ends.callback(transport.close)
    transport.set_write_buffer_limits(high=0)  # an answer counts as written when the system has it
    writer = asyncio.StreamWriter(transport, protocol, None, loop)

    async def send(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return send


def _pollable(descriptor: int) -> bool:
    """Whether the event loop can wait for it: a pipe, a socket or a terminal, but no file and not the null device."""
    mode = os.fstat(descriptor)
    waits = stat.S_ISFIFO(mode.st_mode) or stat.S_ISSOCK(mode.st_mode) or stat.S_ISCHR(mode.st_mode)
    return waits and mode.st_rdev != os.stat(os.devnull).st_rdev


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
