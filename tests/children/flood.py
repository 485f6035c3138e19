"""Answers calls, and floods on a call: `requests`, `line`, `noise` or `stderr`."""

from __future__ import annotations

import os
import sys

from base import Message, answer, serve, text, tool


def call(request: Message) -> None:
    kind = request["params"]["name"]
    if kind == "hello":
        answer(request, text("hello"))
        return
    piece = {
        "requests": b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n' * 1_000,
        "line": b"x" * 65_536,
        "noise": b"y\n" * 30_000,
        "stderr": b"z\n" * 30_000,
    }[kind]
    for _ in range(10 if kind == "noise" else 40):  # a line of noise costs more than one of stderr
        os.write(2 if kind == "stderr" else 1, piece)
    if kind in ("noise", "stderr"):
        answer(request, text("flooded"))
    sys.stdin.read()


serve([tool(name) for name in ("hello", "requests", "line", "noise", "stderr")], call)
