"""Behaves well, and answers with everything that a result can hold."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from base import Message, answer, refuse, send, serve, text, tool

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
RICH = {
    "content": [
        {"type": "text", "text": "words", "annotations": {"audience": ["user"], "priority": 0.5}, "_meta": {"k": 1}},
        {"type": "image", "data": PIXEL, "mimeType": "image/png"},
        {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"},
        {"type": "resource_link", "uri": "file:///a.txt", "name": "a", "size": 3},
        {"type": "resource", "resource": {"uri": "file:///b.txt", "text": "b", "mimeType": "text/plain"}},
    ],
    "structuredContent": {"answer": 42, "nested": {"list": [1, 2.5, None, True]}},
    "_meta": {"vendor/key": ["kept"]},
    "isError": False,
}
STRANGE = {
    "content": [{"type": "hologram", "depth": 3}, {"type": "text", "text": "kept", "future": True}],
    "later": {"field": 1},
}
TOOLS = [
    tool("echo", {"text": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "array"}}, ["text"]),
    tool("rich"),
    tool("strange"),
    tool("fails", {"text": {"type": "string"}}, ["text"]),
    tool("refuses", {"text": {"type": "string"}}),
    tool("slow", {"seconds": {"type": "number"}}),
    tool("steps", {"count": {"type": "integer"}}),
    tool("crash"),
    tool("crash_once", {"mark": {"type": "string"}}),
    tool("read_once", {"mark": {"type": "string"}}, annotations={"readOnlyHint": True}),
    tool("where"),
    tool("big", {"size": {"type": "integer"}}),
    tool("cancelled"),
    tool("half_pair"),
    tool("not_an_object"),
    tool("asks"),
    tool("mumbles"),
    tool("odd_block"),
    tool("logs"),
]
CANCELLED: list[Any] = []
ASKING: list[Message] = []
ANSWERS: list[Message] = []


def crash_once(arguments: Message) -> None:
    mark = Path(arguments["mark"])
    if not mark.exists():
        mark.touch()
        sys.stderr.write("crashing as told\n")
        sys.stderr.flush()
        os._exit(7)


def steps(request: Message) -> None:
    token = request["params"].get("_meta", {}).get("progressToken")
    count = request["params"]["arguments"].get("count", 3)
    for step in range(1, count + 1):
        params = {"progressToken": token, "progress": step, "total": count, "message": f"step {step}"}
        send({"method": "notifications/progress", "params": params})
    answer(request, text("done"))


def slow(request: Message) -> None:
    time.sleep(request["params"]["arguments"].get("seconds", 60))
    answer(request, {**text("slept"), "structuredContent": {"pid": os.getpid()}})


def where(request: Message) -> None:
    meta = request["params"].get("_meta")
    seen = {"cwd": str(Path.cwd()), "env": dict(os.environ), "pid": os.getpid(), "meta": meta}
    answer(request, text(json.dumps(seen)))


def survive(request: Message) -> None:
    crash_once(request["params"]["arguments"])
    answer(request, text("survived"))


def crash(_: Message) -> None:
    sys.stderr.write("crashing as told\n")
    sys.stderr.flush()
    os._exit(7)


def big(request: Message) -> None:
    answer(request, text("x" * request["params"]["arguments"].get("size", 1_000_000)))


def logs(request: Message) -> None:
    send({"method": "notifications/message", "params": {"level": "warning", "data": "careful"}})
    answer(request, text("logged"))


def mumbles(request: Message) -> None:
    """Prints something without a newline, just before the answer."""
    sys.stdout.write("Loading... ")
    answer(request, text("loaded"))


def asks(request: Message) -> None:
    """Asks the client for everything that a server can ask, and answers with what it was told."""
    schema: Message = {"type": "object", "properties": {}}
    questions: dict[str, Message] = {
        "roots/list": {},
        "sampling/createMessage": {"messages": [], "maxTokens": 1},
        "elicitation/create": {"message": "?", "requestedSchema": schema},
    }
    for method, params in questions.items():
        send({"id": f"ask-{method}", "method": method, "params": params})
    ASKING.append(request)


def told(message: Message) -> None:
    """An answer of the client; the last one ends the call."""
    ANSWERS.append(message)
    if len(ANSWERS) == 3:
        answer(ASKING.pop(), text(json.dumps(ANSWERS)))


CALLS: dict[str, Callable[[Message], None]] = {
    "echo": lambda request: answer(request, text(json.dumps(request["params"]["arguments"]))),
    "rich": lambda request: answer(request, RICH),
    "strange": lambda request: answer(request, STRANGE),
    "fails": lambda request: answer(request, {**text("it went wrong"), "isError": True}),
    "refuses": lambda request: refuse(request, -32050, "refused", {"why": "because"}),
    "slow": lambda request: threading.Thread(target=slow, args=(request,), daemon=True).start(),
    "steps": steps,
    "crash": crash,
    "crash_once": survive,
    "read_once": survive,
    "where": where,
    "big": big,
    "cancelled": lambda request: answer(request, text(json.dumps(CANCELLED))),
    "half_pair": lambda request: answer(request, text("\ud83d")),
    "asks": asks,
    "mumbles": mumbles,
    "odd_block": lambda request: answer(request, {"content": ["a plain string", {"type": "text", "text": "kept"}]}),
    "logs": logs,
    "not_an_object": lambda request: send({"id": request["id"], "result": "just text"}),
}


def watch_cancellations() -> None:
    """Sees cancellations and answers in the stream of lines before the loop does."""
    lines = sys.stdin

    class Lines:
        def __iter__(self) -> Iterator[str]:
            for line in lines:
                message = json.loads(line)
                if message.get("method") == "notifications/cancelled":
                    CANCELLED.append(message["params"]["requestId"])
                if "method" not in message:
                    told(message)
                    continue
                yield line

    sys.stdin = Lines()  # type: ignore[assignment]


watch_cancellations()
serve(TOOLS, lambda request: CALLS[request["params"]["name"]](request), instructions="Be kind to this server.")
