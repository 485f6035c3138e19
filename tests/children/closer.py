"""Closes its output on a call, and stays."""

import os
import threading

from base import Message, answer, serve, text, tool


def call(request: Message) -> None:
    if request["params"]["name"] == "hello":
        answer(request, text("hello"))
    else:
        os.close(1)
        threading.Event().wait()


serve([tool("hello"), tool("close")], call)
