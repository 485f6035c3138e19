"""Says of itself what stands in a file, each time it is asked; the argument is the file."""

import json
import sys
from pathlib import Path

from base import Message, answer, handshake, refuse, requests, send, text

file = Path(sys.argv[1])

for request in requests():
    said: Message = json.loads(file.read_text())
    method: object = request.get("method")
    if method == "initialize":
        handshake(request, instructions=said.get("instructions", ""))
    elif method == "tools/list":
        answer(request, {"tools": said["tools"]})
    elif method == "tools/call":
        if request["params"]["name"] == "turn":
            send({"method": "notifications/tools/list_changed"})
        refused = "refuse" in request["params"]["arguments"]
        answer(
            request,
            {**text(json.dumps(request["params"]["name"] if refused else request["params"])), "isError": refused},
        )
    elif "id" in request:
        refuse(request, -32601, "Method not found")
