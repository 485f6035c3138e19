"""Starts a helper in a session of its own, whose parent is then gone; arguments: the port to hold."""

import os
import subprocess
import sys
import threading

from base import Message, answer, hold, serve, text, tool

PORT = sys.argv[1]

if len(sys.argv) > 2:
    if os.fork():
        os._exit(0)
    connection = hold(PORT)
    threading.Event().wait()


def call(request: Message) -> None:
    quiet = subprocess.DEVNULL
    words = [sys.executable, __file__, PORT, "helper"]
    subprocess.run(words, stdin=quiet, stdout=quiet, start_new_session=True, check=True)
    answer(request, text("left"))


serve([tool("leave")], call)
