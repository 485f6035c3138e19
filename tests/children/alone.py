"""Refuses to run twice at once, by a lock on the file that is its argument."""

import fcntl
import sys
import time
from pathlib import Path

from base import Message, answer, serve, text, tool

lock = Path(sys.argv[1]).open("w")  # noqa: SIM115 - held as long as the process lives
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit("another one is running")


def call(request: Message) -> None:
    time.sleep(0.2)
    answer(request, text("served"))


serve([tool("work")], call)
