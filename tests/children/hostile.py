"""Does one thing wrong for as long as a file is there, and behaves without it: `hostile.py FAULT FILE`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from base import Message, answer, handshake, refuse, send, text, tool

Wrong = Callable[[Message], object]

FAULT, FILE = sys.argv[1], Path(sys.argv[2])
TOOLS = [tool("work")]
MANY = 5_000
out = sys.stdout.buffer


def wrong(fault: str) -> bool:
    return fault == FAULT and FILE.exists()


def fail_at(stage: str) -> None:
    """Crashes, hangs or is stopped by a signal at a stage."""
    if wrong(f"crash at {stage}"):
        sys.stderr.write("crashing as told\n")
        os._exit(3)
    if wrong(f"killed at {stage}"):
        os.kill(os.getpid(), signal.SIGKILL)
    if wrong(f"stopped at {stage}"):
        os.kill(os.getpid(), signal.SIGSTOP)
    while wrong(f"hang at {stage}"):
        time.sleep(0.05)


def raw(data: bytes) -> None:
    out.write(data)
    out.flush()


def line(request: Message, result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()


def crash_in_the_answer(request: Message) -> None:
    raw(line(request, text("done"))[:20])
    os._exit(3)


def end_of_output_in_the_answer(request: Message) -> None:
    raw(line(request, text("done"))[:20])
    os.close(1)
    while FILE.exists():
        time.sleep(0.05)
    os._exit(0)


def crash_behind_the_answer(request: Message) -> None:
    answer(request, text("done"))
    os._exit(3)


def answer_in_pieces(request: Message) -> None:
    for byte in line(request, text("done")) + b"\n":
        raw(bytes([byte]))


def answer_twice(request: Message) -> None:
    for _ in range(3):
        answer(request, text("done"))


def foreign_answers(request: Message) -> None:
    ids: list[Any] = [*range(1000), request["id"] + 1, "1", str(request["id"]) + "0", None, 1.5, True, [], {}]
    for wrong_id in ids:
        send({"id": wrong_id, "result": text("foreign")})
    answer(request, text("done"))


def endless_line(_: Message) -> None:
    while True:
        raw(b"x" * 100_000)


def flood_of_noise(request: Message) -> None:
    for _ in range(MANY):
        raw(b"this is no message\n" * 10)
    answer(request, text("done"))


def endless_noise(_: Message) -> None:
    while True:
        raw(b"this is no message\n" * 1000)


def flood_of_stderr(request: Message) -> None:
    for _ in range(MANY):
        sys.stderr.write("this is a complaint " * 50 + "\n")
    answer(request, text("done"))


def endless_stderr(_: Message) -> None:
    while True:
        sys.stderr.write("this is a complaint " * 1000)


def flood_of_changes(request: Message) -> None:
    for _ in range(MANY):
        send({"method": "notifications/tools/list_changed"})
    answer(request, text("done"))


def flood_of_notices(request: Message) -> None:
    for number in range(MANY):
        send({"method": "notifications/message", "params": {"level": "error", "data": "x" * 100}})
        send({"method": "notifications/progress", "params": {"progressToken": number, "progress": 10**400}})
        send({"method": "notifications/resources/updated", "params": {"uri": f"test://{number}"}})
        send({"method": "notifications/of/no/kind", "params": []})
    answer(request, text("done"))


def flood_of_questions(_: Message) -> None:
    number = 0
    while True:
        number += 1
        send({"id": f"q{number}", "method": "roots/list"})


def garbage(request: Message) -> None:
    for piece in (b"\xff\xfe\x00", b"[" * 100_000, b'{"jsonrpc": "2.0"', b"null", b'"text"', b"[1, 2]", b"{}", b"NaN"):
        raw(piece + b"\n")
    answer(request, text("done"))


def grandchild_with_the_pipes(_: Message) -> None:
    subprocess.Popen(["sleep", "600"])
    os._exit(3)


def result(value: object) -> Wrong:
    return lambda request: raw(line(request, value) + b"\n")


CALLS: dict[str, Wrong] = {
    "crash in the answer": crash_in_the_answer,
    "end of output in the answer": end_of_output_in_the_answer,
    "crash behind the answer": crash_behind_the_answer,
    "an answer in pieces": answer_in_pieces,
    "three answers": answer_twice,
    "foreign answers": foreign_answers,
    "an endless line": endless_line,
    "a flood of noise": flood_of_noise,
    "endless noise": endless_noise,
    "a flood on stderr": flood_of_stderr,
    "endless stderr": endless_stderr,
    "a flood of list_changed": flood_of_changes,
    "a flood of notices": flood_of_notices,
    "a flood of questions": flood_of_questions,
    "garbage": garbage,
    "a grandchild with the pipes": grandchild_with_the_pipes,
    "a number as result": result(42),
    "null as result": result(None),
    "an empty result": result({}),
    "content that is no list": result({"content": "text"}),
    "blocks that are no objects": result({"content": [1, None, "x", {"type": 3}]}),
    "no result and no error": lambda request: send({"id": request["id"]}),
    "an error that is text": lambda request: send({"id": request["id"], "error": "text"}),
    "an error without a code": lambda request: send({"id": request["id"], "error": {}}),
    "no answer": lambda _: None,
}


def page(request: Message) -> None:
    cursor = int(request.get("params", {}).get("cursor", 0))
    answer(request, {"tools": [tool(f"t{cursor}")], "nextCursor": str(cursor + 1)})


LISTS: dict[str, Wrong] = {
    "endless pages": page,
    "tools that are no list": result({"tools": "many"}),
    "tools that are no tools": result(
        {"tools": [1, None, {}, {"name": 3}, {"name": ""}, {"name": "odd", "inputSchema": 1}]}
    ),
    "no answer to the list": lambda _: None,
    "error -32000 for the list": lambda request: refuse(request, -32000, "no list"),
    "an error for a list": lambda request: refuse(request, -32603, "no list"),
    "a list of a million": result({"tools": [tool(f"tool number {n}") for n in range(10)] * 10_000}),
}
HANDSHAKES: dict[str, Wrong] = {
    "a number as handshake": result(42),
    "a handshake without fields": result({}),
    "a handshake of a later age": lambda request: handshake(request, "3000-01-01"),
    "error -32000 for the handshake": lambda request: refuse(request, -32000, "set FOO_KEY"),
    "an error for a handshake": lambda request: refuse(request, -32603, "not today"),
}


def serve(request: Message) -> None:
    method = request.get("method")
    if "id" not in request or method is None:
        return
    if method == "initialize":
        fail_at("initialize")
        (HANDSHAKES[FAULT] if FAULT in HANDSHAKES and FILE.exists() else handshake)(request)
    elif method == "tools/list":
        fail_at("list")
        if FAULT in LISTS and FILE.exists():
            LISTS[FAULT](request)
        else:
            answer(request, {"tools": TOOLS})
    elif method == "tools/call":
        fail_at("call")
        if FAULT in CALLS and FILE.exists():
            CALLS[FAULT](request)
        else:
            answer(request, text("done"))
    elif method == "ping":
        answer(request, {})
    else:
        fail_at(method)
        refuse(request, -32601, "Method not found")


fail_at("start")
if FAULT == "deaf to the end":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for received in sys.stdin:
    serve(json.loads(received))
while FAULT == "deaf to the end":
    time.sleep(1)
