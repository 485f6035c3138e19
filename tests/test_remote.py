"""Servers over HTTP that misbehave: Streamable HTTP and SSE, on the standard library alone."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest
from support import Start

pytestmark = pytest.mark.anyio
TOOLS: list[dict[str, Any]] = [
    {"name": name, "inputSchema": {"type": "object"}} for name in ("say", "big", "broken", "read", "refuse")
]
TOOLS[3]["annotations"] = {"readOnlyHint": True}


def answer_of(message: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request of the handshake era."""
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "initialize":
        info = {"name": "remote", "version": "1"}
        version = message["params"]["protocolVersion"]
        return {**reply, "result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
    if message["method"] == "tools/list":
        return {**reply, "result": {"tools": TOOLS}}
    if message["method"] == "tools/call":
        text = "x" * 3_000_000 if message["params"]["name"] == "big" else "said"
        return {**reply, "result": {"content": [{"type": "text", "text": text}]}}
    return {**reply, "error": {"code": -32601, "message": "Method not found"}}


class Web(ThreadingHTTPServer):
    """A server in a thread; `calls` are the tools that were called."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        """Listen on a free port of loopback."""
        super().__init__(("127.0.0.1", 0), handler)
        self.calls: list[str] = []
        self.streams: list[queue.Queue[bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """What both kinds share."""

    @property
    def web(self) -> Web:
        """The server that this belongs to."""
        assert isinstance(self.server, Web)
        return self.server

    def message(self) -> dict[str, Any]:
        """The posted message."""
        message: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if message.get("method") == "tools/call":
            self.web.calls.append(message["params"]["name"])
        return message

    def begin(self, status: int, kind: str = "text/event-stream", **headers: str) -> None:
        """Status and headers; the body ends with the connection."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def event(self, data: str, kind: str = "message") -> None:
        """One event of a stream."""
        self.wfile.write(f"event: {kind}\ndata: {data}\n\n".encode())
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Says nothing."""


class Streamable(Handler):
    """Answers in the stream of each POST; the tools `broken` and `read` break off before their answer."""

    def do_POST(self) -> None:
        """One message."""
        message = self.message()
        if "id" not in message:
            self.begin(202)
            return
        tool = message["params"].get("name") if message["method"] == "tools/call" else ""
        if tool == "refuse":
            self.begin(500, "text/plain")
            return
        self.begin(200)
        if tool == "broken" or (tool == "read" and self.web.calls.count("read") == 1):
            self.wfile.write(b": about to break\n\n")
            return
        self.event(json.dumps(answer_of(message)))

    def do_GET(self) -> None:
        """No stream of its own."""
        self.send_error(405)


class Sse(Handler):
    """The transport of 2024-11-05; the tool `refuse` is refused, and `broken` ends the stream."""

    def do_GET(self) -> None:
        """The one stream of a session."""
        stream: queue.Queue[bytes] = queue.Queue()
        self.web.streams.append(stream)
        self.begin(200)
        self.event(f"/message?session={len(self.web.streams) - 1}", "endpoint")
        while data := stream.get():
            self.event(data.decode())

    def do_POST(self) -> None:
        """One message, answered on the stream."""
        message = self.message()
        stream = self.web.streams[int(self.path.rpartition("=")[2])]
        tool = message["params"].get("name") if message.get("method") == "tools/call" else ""
        if tool == "big" and self.headers["X-Reset"]:
            self.connection.close()
            return
        status = int(self.headers["X-Status"] or 500) if tool == "refuse" else 202
        self.begin(status, "text/plain")
        if tool == "broken":
            stream.put(b"")
        elif tool != "refuse" and "id" in message:
            stream.put(json.dumps(answer_of(message)).encode())


@pytest.fixture
def streamable() -> Generator[Web]:
    web = Web(Streamable)
    yield web
    web.shutdown()
    web.server_close()


@pytest.fixture
def sse() -> Generator[Web]:
    web = Web(Sse)
    yield web
    for stream in web.streams:
        stream.put(b"")
    web.shutdown()
    web.server_close()


def http(web: Web) -> dict[str, Any]:
    return {"web": {"url": f"http://127.0.0.1:{web.server_port}/mcp"}}


def events(web: Web, **headers: str) -> dict[str, Any]:
    return {"web": {"url": f"http://127.0.0.1:{web.server_port}/sse", "headers": headers}}


async def test_an_answer_of_some_megabytes_arrives_over_http(start: Start, streamable: Web) -> None:
    async with start(http(streamable), max_result_chars=0) as running:
        assert len(await running.text("web", "big")) == 3_000_000


async def test_an_answer_of_some_megabytes_arrives_over_sse(start: Start, sse: Web) -> None:
    async with start(events(sse), max_result_chars=0) as running:
        assert len(await running.text("web", "big")) == 3_000_000


async def test_an_answer_that_breaks_off_is_said_to_be_one_and_not_asked_for_again(
    start: Start, streamable: Web
) -> None:
    async with start(http(streamable)) as running:
        said = await running.error("web", "broken")
        assert 'The server "web" broke off its answer during the call. The call was not repeated' in said
        assert await running.text("web", "say") == "said"
    assert streamable.calls == ["broken", "say"]


async def test_a_reading_call_whose_answer_breaks_off_is_made_once_more(start: Start, streamable: Web) -> None:
    async with start(http(streamable)) as running:
        assert await running.text("web", "read") == "said"
    assert streamable.calls == ["read", "read"]


async def test_calls_beside_one_that_is_refused_are_unhurt(start: Start, streamable: Web) -> None:
    async with start(http(streamable)) as running:
        said: list[str] = []

        async def refused() -> None:
            said.append(await running.error("web", "refuse"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refused)
            for _ in range(5):
                assert await running.text("web", "say") == "said"
    assert "answered 500 Internal Server Error: it is busy or has a fault of its own" in said[0]


async def test_a_message_that_an_sse_server_did_not_read_is_sent_once_more(start: Start, sse: Web) -> None:
    async with start(events(sse, **{"X-Status": "404"})) as running:
        assert "answered 404 Not Found" in await running.error("web", "refuse")
        assert await running.text("web", "say") == "said"
    assert sse.calls == ["refuse", "refuse", "say"]


async def test_a_message_that_an_sse_server_may_have_acted_on_is_not(start: Start, sse: Web) -> None:
    async with start(events(sse)) as running:
        said = await running.error("web", "refuse")
        assert "answered 500 Internal Server Error during the call. The call was not repeated" in said
        assert await running.text("web", "say") == "said"
    assert sse.calls == ["refuse", "say"]


async def test_a_message_whose_way_broke_is_the_end_of_that_run(start: Start, sse: Web) -> None:
    async with start(events(sse, **{"X-Reset": "1"})) as running:
        assert "The call was not repeated" in await running.error("web", "big")
        assert await running.text("web", "say") == "said"
    assert len(sse.streams) == 2


async def test_an_sse_stream_that_ends_is_opened_anew(start: Start, sse: Web) -> None:
    async with start(events(sse)) as running:
        assert "closed the connection during the call" in await running.error("web", "broken")
        assert await running.text("web", "say") == "said"
    assert len(sse.streams) == 2


async def test_a_url_where_nobody_listens_is_a_clear_error(start: Start) -> None:
    for path in ("mcp", "sse"):
        async with start({"web": {"url": f"http://127.0.0.1:9/{path}"}}) as running:
            assert f"http://127.0.0.1:9/{path} cannot be reached" in await running.error("web", "say")
