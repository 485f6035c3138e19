"""Behaves well, and answers with everything that a result can hold."""

import json
import os
import sys
import threading
import time

from base import answer, refuse, send, serve, text, tool

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
]
CANCELLED = []


def crash_once(arguments):
    if not os.path.exists(arguments["mark"]):
        open(arguments["mark"], "w").close()
        sys.stderr.write("crashing as told\n")
        sys.stderr.flush()
        os._exit(7)


def steps(request):
    token = request["params"].get("_meta", {}).get("progressToken")
    count = request["params"]["arguments"].get("count", 3)
    for step in range(1, count + 1):
        params = {"progressToken": token, "progress": step, "total": count, "message": f"step {step}"}
        send({"method": "notifications/progress", "params": params})
    answer(request, text("done"))


def slow(request):
    time.sleep(request["params"]["arguments"].get("seconds", 60))
    answer(request, {**text("slept"), "structuredContent": {"pid": os.getpid()}})


def call(request):
    name, arguments = request["params"]["name"], request["params"].get("arguments") or {}
    if name == "echo":
        answer(request, text(json.dumps(arguments)))
    elif name == "rich":
        answer(request, RICH)
    elif name == "strange":
        answer(request, STRANGE)
    elif name == "fails":
        answer(request, {**text("it went wrong"), "isError": True})
    elif name == "refuses":
        refuse(request, -32050, "refused", {"why": "because"})
    elif name == "slow":
        threading.Thread(target=slow, args=(request,), daemon=True).start()
    elif name == "steps":
        steps(request)
    elif name == "crash":
        sys.stderr.write("crashing as told\n")
        sys.stderr.flush()
        os._exit(7)
    elif name in ("crash_once", "read_once"):
        crash_once(arguments)
        answer(request, text("survived"))
    elif name == "where":
        where = {
            "cwd": os.getcwd(),
            "env": dict(os.environ),
            "pid": os.getpid(),
            "meta": request["params"].get("_meta"),
        }
        answer(request, text(json.dumps(where)))
    elif name == "big":
        answer(request, text("x" * arguments.get("size", 1_000_000)))
    elif name == "cancelled":
        answer(request, text(json.dumps(CANCELLED)))
    elif name == "half_pair":
        answer(request, text("\ud83d"))
    elif name == "not_an_object":
        send({"id": request["id"], "result": "just text"})
    else:
        refuse(request, -32602, f"Unknown tool: {name}")


def watch_cancellations():
    """Takes cancellations out of the stream of lines before the loop sees them."""
    lines = sys.stdin

    class Lines:
        def __iter__(self):
            for line in lines:
                message = json.loads(line)
                if message.get("method") == "notifications/cancelled":
                    CANCELLED.append(message["params"]["requestId"])
                yield line

    sys.stdin = Lines()


watch_cancellations()
serve(TOOLS, call, instructions="Be kind to this server.")
