"""Speaks 2024-11-05, and hangs on anything that comes before `initialize`."""

from base import answer, handshake, requests, text, tool

stream = requests()
for request in stream:
    if request.get("method") == "initialize":
        handshake(request, version="2024-11-05")
        break
for request in stream:
    if request.get("method") == "tools/list":
        answer(request, {"tools": [tool("age")]})
    elif request.get("method") == "tools/call":
        answer(request, text("2024"))
