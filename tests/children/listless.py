"""Answers calls, but its tools cannot be listed: the argument is the error's code, or 0 for no answer."""

import os
import sys

from base import answer, handshake, refuse, requests, text

CODE = int(sys.argv[1])

for request in requests():
    method = request.get("method")
    if method == "initialize":
        handshake(request)
    elif method == "tools/call":
        answer(request, text("called"))
    elif method == "tools/list" and CODE:
        refuse(request, CODE, f"no lists here {os.environ.get('LIST_TOKEN', '')}".strip())
    elif "id" in request and method != "tools/list":
        refuse(request, -32601, "Method not found")
