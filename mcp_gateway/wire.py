"""JSON-RPC messages as lines of JSON over any pair of byte streams.

The SDK's dispatcher reads and writes these streams directly, so that a message costs no hop through
a queue or a thread. A line is parsed once. What is not a message never ends the connection: noise is
handed to `on_noise`, and an answer that is not valid becomes an error for the request that waits.

Source: MCP specification 2026-07-28 and 2025-11-25, basic/transports, stdio.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, cast

import anyio
import anyio.lowlevel
import pydantic_core
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)
from pydantic import ValidationError

MAX_LINE_BYTES = 64 << 20
"""A longer line ends the connection; the longest answer seen from a real server has 0.4 MB."""
_MAX_OPEN_REQUESTS = 100
"""Requests of a peer that may wait for their answers; one that reads none of them must not fill the memory."""
_LINES_A_TURN = 64
"""Lines that are handed on before others get their turn, where a peer sends faster than it is read."""

_COUNTED = {"tools/call", "prompts/get", "resources/read", "completion/complete"}
"""Requests of which it matters whether they have left."""

Message = JSONRPCRequest | JSONRPCNotification | JSONRPCResponse | JSONRPCError


class NotAMessageError(ValueError):
    """A line that is no JSON-RPC message; `request_id` is set if some request waits for it."""

    def __init__(self, reason: str, request_id: RequestId | None = None) -> None:
        """Keep the id of the request that this line was meant to answer."""
        super().__init__(reason)
        self.request_id = request_id


def decode(line: bytes) -> Message:
    """One line as a message.

    Raises:
        NotAMessageError: The line is not JSON, or not a message.
    """
    value = _parse(line)
    if not isinstance(value, dict):
        raise NotAMessageError("not a JSON object")
    fields = cast("dict[str, Any]", value)
    try:
        return _message(fields)
    except ValidationError as exc:
        waiting = fields.get("id") if "method" not in fields else None
        known = waiting if isinstance(waiting, str | int) and not isinstance(waiting, bool) else None
        raise NotAMessageError(exc.errors(include_url=False)[0]["msg"], known) from exc


def _parse(line: bytes) -> object:
    try:
        return pydantic_core.from_json(line)
    except ValueError:
        pass
    try:  # slower, and takes what JavaScript writes for half of a surrogate pair
        return json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as exc:
        raise NotAMessageError(str(exc)) from exc


def _message(fields: dict[str, Any]) -> Message:
    if isinstance(fields.get("id"), float) and fields["id"].is_integer():
        fields["id"] = int(fields["id"])
    if "method" in fields:
        if fields.get("id") is None:
            _check_progress(fields)
            return JSONRPCNotification.model_validate(fields)
        return JSONRPCRequest.model_validate(fields)
    if "error" in fields and fields["error"] is not None:
        return JSONRPCError.model_validate(fields)
    return JSONRPCResponse.model_validate(fields)


def _check_progress(fields: dict[str, Any]) -> None:
    """The SDK makes a float of a progress, in the loop that reads; one that is too big would end that loop."""
    params = fields.get("params")
    if fields["method"] == "notifications/progress" and isinstance(params, dict):
        known = cast("dict[str, Any]", params)
        try:
            _ = [float(known[key]) for key in ("progress", "total") if isinstance(known.get(key), int)]
        except OverflowError as exc:
            raise NotAMessageError(str(exc)) from exc


def _behind_noise(line: bytes) -> Message | None:
    """A message that stands behind something that was printed without a newline."""
    start = line.find(b'{"', 1)
    try:
        return decode(line[start:]) if start > 0 else None
    except NotAMessageError:
        return None


def encode(message: Message) -> bytes:
    """The message as one line, the newline included."""
    try:
        return message.__pydantic_serializer__.to_json(message, by_alias=True, exclude_unset=True) + b"\n"
    except ValueError:  # half of a surrogate pair, which only an escape can carry
        document = message.model_dump(by_alias=True, exclude_unset=True)
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"


class Closing:
    """What the SDK expects of both kinds of streams beside their one verb."""

    async def aclose(self) -> None:
        """Close this end."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()


class Incoming(Closing):
    """A stream of messages from a peer; `ended` is set when no more can come, `trouble` if that was our doing."""

    def __init__(self) -> None:
        """Nothing has ended yet."""
        self.ended = anyio.Event()
        self.trouble = ""

    async def receive(self) -> SessionMessage | Exception:
        """The next message.

        Raises:
            anyio.EndOfStream: There is none.
        """
        raise NotImplementedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class LineReader(Incoming):
    """Messages from a byte stream, a line each."""

    def __init__(
        self,
        receive: Callable[[], Awaitable[bytes]],
        *,
        on_noise: Callable[[bytes, NotAMessageError], None],
        on_end: Callable[[], None] = lambda: None,
        answered: Callable[[], int] | None = None,
    ) -> None:
        """Read pieces by `receive`, which returns `b""` or raises where the stream ends.

        With `answered`, the number of answers written to the peer, one that asks without end is cut off.
        """
        super().__init__()
        self._receive = receive
        self._on_noise = on_noise
        self._on_end = on_end
        self._answered = answered
        self._asked = 0
        self._in_turn = 0
        self._partial_bytes = 0
        self._lines: deque[bytes] = deque()
        self._partial: list[bytes] = []

    async def receive(self) -> SessionMessage | Exception:
        """See `Incoming.receive`."""
        while True:
            line = await self._next_line()
            if line is None:
                self._end()
                raise anyio.EndOfStream
            message = self._decode(line)
            await self._take_turns()
            if message is not None and self._within_bounds(message):
                return SessionMessage(message)

    async def _take_turns(self) -> None:
        """Lines that have come in one piece are handed on without waiting for anything; others wait then."""
        self._in_turn += 1
        if self._in_turn >= _LINES_A_TURN:
            self._in_turn = 0
            await anyio.lowlevel.checkpoint()

    def _within_bounds(self, message: Message) -> bool:
        if self._answered is not None and isinstance(message, JSONRPCRequest):
            self._asked += 1
            if self._asked - self._answered() > _MAX_OPEN_REQUESTS:
                self._cut_off(f"asked more than {_MAX_OPEN_REQUESTS} times without reading the answers")
        return not self.trouble

    def _cut_off(self, trouble: str) -> None:
        self.trouble = trouble
        self._lines.clear()
        self._partial = []
        self._end()

    def _decode(self, line: bytes) -> Message | None:
        if not line.strip():
            return None
        try:
            return decode(line)
        except NotAMessageError as exc:
            if exc.request_id is None and (message := _behind_noise(line)) is not None:
                self._on_noise(line[: line.index(b'{"')], exc)
                return message
            self._on_noise(line, exc)
            if exc.request_id is None:
                return None
            error = ErrorData(code=INTERNAL_ERROR, message=f"The server's answer is not valid JSON-RPC: {exc}")
            return JSONRPCError(jsonrpc="2.0", id=exc.request_id, error=error)

    async def _next_line(self) -> bytes | None:
        while not self._lines:
            piece = b"" if self.ended.is_set() else await self._piece()
            if not piece:
                return self._last_line()
            self._take(piece)
        return self._lines.popleft()

    def _take(self, piece: bytes) -> None:
        self._in_turn = 0
        first, *rest = piece.split(b"\n")
        self._partial.append(first)
        self._partial_bytes += len(first)
        if rest:
            self._lines.append(b"".join(self._partial))
            self._partial = [rest.pop()]
            self._partial_bytes = len(self._partial[0])
            self._lines.extend(rest)
        if self._partial_bytes > MAX_LINE_BYTES:
            self._cut_off(f"sent a line of more than {MAX_LINE_BYTES >> 20} MB")

    async def _piece(self) -> bytes:
        try:
            return await self._receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            return b""

    def _last_line(self) -> bytes | None:
        """A program that ends without a newline has still said its last line."""
        self._end()
        line, self._partial = b"".join(self._partial), []
        return line or None

    def _end(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._on_end()

    async def aclose(self) -> None:
        """Read no more."""
        self._end()


class LineWriter(Closing):
    """Messages onto a byte stream, each in one piece."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Write pieces by `send`."""
        self._send = send
        self._closed = False
        self.answered = 0
        """Answers that were written."""
        self.written: set[RequestId] = set()
        """Ids of calls that were handed to the stream; who made a call takes its id out again."""

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message.

        Raises:
            anyio.ClosedResourceError: This end is closed.
            anyio.BrokenResourceError: The other end is.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        data = encode(item.message)
        called = item.message.id if isinstance(item.message, JSONRPCRequest) else None
        if called is not None and isinstance(item.message, JSONRPCRequest) and item.message.method in _COUNTED:
            self.written.add(called)
        try:
            await self._send(data)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            self.written.discard(called or "")
            raise anyio.BrokenResourceError from exc
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self.answered += 1

    async def aclose(self) -> None:
        """Write no more."""
        self._closed = True
