"""Answers calls, but its tools cannot be listed: with error -32601, or another that is its argument."""

import sys

from base import answer, handshake, refuse, requests, text

CODE = int(sys.argv[1])

for request in requests():
    method = request.get("method")
    if method == "initialize":
        handshake(request)
    elif method == "tools/call":
        answer(request, text("called"))
    elif "id" in request:
        refuse(request, CODE if method == "tools/list" else -32601, "no lists here")
