"""Lists its tools on pages, and changes them when it is told to."""

from base import Message, answer, handshake, refuse, requests, send, text, tool

names = [f"tool_{number}" for number in range(5)]

for request in requests():
    method: object = request.get("method")
    params: Message = request.get("params") or {}
    if method == "initialize":
        handshake(request)
    elif method == "tools/list":
        at = int(params.get("cursor", 0))
        page = {"tools": [tool(name) for name in names[at : at + 2]]}
        answer(request, {**page, "nextCursor": str(at + 2)} if at + 2 < len(names) else page)
    elif method == "tools/call":
        names.append("newcomer")
        send({"method": "notifications/tools/list_changed"})
        answer(request, text("changed"))
    elif "id" in request:
        refuse(request, -32601, "Method not found")
