"""Messages as lines, whatever pieces they come in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from mcp_gateway.wire import LineReader, LineWriter, Message, NotAMessageError, decode, encode


def read_all(pieces: list[bytes]) -> tuple[list[Message], list[bytes]]:
    """What a reader makes of a stream, and what it calls noise."""
    noise: list[bytes] = []
    left: Iterator[bytes] = iter(pieces)

    async def receive() -> bytes:
        return next(left, b"")

    async def run() -> list[Message]:
        reader = LineReader(receive, on_noise=lambda line, _: noise.append(line))
        return [item.message async for item in reader if isinstance(item, SessionMessage)]

    return anyio.run(run), noise


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', JSONRPCRequest),
        (b'{"jsonrpc":"2.0","method":"note","params":{}}', JSONRPCNotification),
        (b'{"jsonrpc":"2.0","id":"a","result":{}}', JSONRPCResponse),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}', JSONRPCError),
        (b'{"jsonrpc":"2.0","id":1,"result":{"half":"\\ud800"}}', JSONRPCResponse),
        (b'{"jsonrpc":"2.0","id":1000.0,"result":{}}', JSONRPCResponse),
    ],
)
def test_every_kind_of_message_is_known(line: bytes, kind: type) -> None:
    message = decode(line)
    assert isinstance(message, kind)
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    ("line", "waiting"),
    [
        (b"hello", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"id":true,"result":{}}', None),
        (b'{"jsonrpc":"2.0","id":3,"result":"text"}', 3),
        (b'{"jsonrpc":"2.0","id":4,"error":"text"}', 4),
        (b'{"jsonrpc":"2.0","id":5}', 5),
        (b'{"jsonrpc":"1.0","id":6,"result":{}}', 6),
        (b'{"jsonrpc":"2.0","id":7,"method":8}', None),
        (b"[" * 100_000, None),
        (b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1' + b"0" * 400 + b"}}", None),
    ],
)
def test_what_is_no_message_says_who_waits_for_it(line: bytes, waiting: int | None) -> None:
    with pytest.raises(NotAMessageError) as caught:
        decode(line)
    assert caught.value.request_id == waiting


@given(st.lists(st.integers(1, 40), max_size=30))
def test_lines_are_found_wherever_the_pieces_are_cut(cuts: list[int]) -> None:
    messages = [JSONRPCNotification(jsonrpc="2.0", method=f"m{number}\u20ac") for number in range(8)]
    stream = b"".join(map(encode, messages))
    pieces: list[bytes] = []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]
    found, noise = read_all([piece for piece in [*pieces, stream] if piece])
    assert found == messages
    assert noise == []


def test_a_last_line_without_a_newline_counts() -> None:
    found, _ = read_all([b'{"jsonrpc":"2.0","method":"a"}\n{"jsonrpc":"2.0","me', b'thod":"b"}'])
    assert [message.method for message in found if isinstance(message, JSONRPCNotification)] == ["a", "b"]


def test_noise_is_handed_over_and_an_answer_that_is_not_valid_becomes_an_error() -> None:
    found, noise = read_all([b'banner\n\n  \n{"jsonrpc":"2.0","id":9,"result":[]}\n'])
    assert noise[0] == b"banner"
    (error,) = found
    assert isinstance(error, JSONRPCError)
    assert error.id == 9


def ignore(_: bytes, __: NotAMessageError) -> None:
    """Noise that a test has no use for."""


def test_a_message_behind_noise_on_its_line_is_read() -> None:
    found, noise = read_all([b'Loading... {"jsonrpc":"2.0","method":"a"}\n{"x": {"y\n'])
    assert [message.method for message in found if isinstance(message, JSONRPCNotification)] == ["a"]
    assert noise == [b"Loading... ", b'{"x": {"y']


def test_the_end_is_told_once() -> None:
    ends: list[str] = []

    async def receive() -> bytes:
        raise anyio.EndOfStream

    async def run() -> None:
        reader = LineReader(receive, on_noise=ignore, on_end=lambda: ends.append("end"))
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await reader.receive()
        await reader.aclose()
        assert reader.ended.is_set()

    anyio.run(run)
    assert ends == ["end"]


def test_a_writer_knows_which_requests_have_left() -> None:
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        if sent:
            raise BrokenPipeError
        sent.append(data)

    def request(number: int) -> SessionMessage:
        return SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=number, method="tools/call"))

    async def run() -> LineWriter:
        writer = LineWriter(send)
        await writer.send(request(1))
        with pytest.raises(anyio.BrokenResourceError):
            await writer.send(request(2))
        await writer.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await writer.send(request(3))
        return writer

    assert anyio.run(run).written == {1}


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_result_crosses_unchanged(result: dict[str, Any]) -> None:
    message = JSONRPCResponse(jsonrpc="2.0", id=1, result=result)
    crossed = decode(encode(message))
    assert isinstance(crossed, JSONRPCResponse)
    assert crossed.result == result
