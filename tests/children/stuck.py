"""Is stuck for ever if the first message is not `initialize`."""

import threading

from base import answer, handshake, requests, serve, text, tool

first = next(requests())
if first.get("method") != "initialize":
    threading.Event().wait()
handshake(first)
serve([tool("free")], lambda request: answer(request, text("free")))
