"""Dies at the stage that is its argument: start, initialize, list."""

import os
import sys

from base import handshake, requests

STAGE = sys.argv[1]


def die() -> None:
    sys.stderr.write(f"\x1b[31mfatal:\x1b[0m no API key given, dying at {STAGE}\n")
    sys.stderr.flush()
    os._exit(3)


if STAGE == "start":
    die()
for request in requests():
    if request.get("method") == "initialize":
        if STAGE == "initialize":
            die()
        handshake(request)
    elif request.get("method") == "tools/list":
        die()
