"""In its first run it closes its input as soon as its tools are listed, and stays; later runs are well."""

import os
import sys
import threading
from pathlib import Path

from base import answer, handshake, refuse, requests, serve, text, tool

MARK = Path(sys.argv[1])

if not MARK.exists():
    MARK.touch()
    for request in requests():
        if request["method"] == "initialize":
            handshake(request)
        elif request["method"] == "tools/list":
            os.close(0)
            answer(request, {"tools": [tool("hear")]})
            threading.Event().wait()
        elif "id" in request:
            refuse(request, -32601, "Method not found")
serve([tool("hear")], lambda request: answer(request, text("heard")))
