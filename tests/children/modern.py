"""Speaks 2026-07-28 and nothing else; tells of changed tools to those who listen."""

import json

from base import Message, answer, refuse, requests, send, text, tool

VERSION = "2026-07-28"
INFO = {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "1"}}
tools = [tool("era"), tool("asks"), tool("task")]
listener: object = None

for request in requests():
    method: object = request.get("method")
    params: Message = request.get("params") or {}
    if "id" not in request:
        continue
    if params.get("_meta", {}).get("io.modelcontextprotocol/protocolVersion") != VERSION:
        data = {"supported": [VERSION], "requested": params.get("protocolVersion", "")}
        refuse(request, -32022, "Unsupported protocol version", data)
    elif method == "server/discover":
        result = {
            "resultType": "complete",
            "supportedVersions": [VERSION],
            "capabilities": {"tools": {"listChanged": True}},
            "instructions": "Modern times.",
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": INFO,
        }
        answer(request, result)
    elif method == "tools/list":
        answer(request, {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"})
    elif method == "subscriptions/listen":
        listener = request["id"]
        meta = {"io.modelcontextprotocol/subscriptionId": listener}
        params = {"_meta": meta, "notifications": params["notifications"]}
        send({"method": "notifications/subscriptions/acknowledged", "params": params})
    elif method == "tools/call" and params["name"] == "asks":
        question: Message = {
            "message": "More?",
            "requestedSchema": {"type": "object", "properties": {}},
            "mode": "form",
        }
        asked: Message = {"more": {"method": "elicitation/create", "params": question}}
        given = params.get("arguments", {}).get("state")
        if given and params.get("requestState") == given:
            answer(request, {**text("taken up"), "resultType": "complete"})
            continue
        state = given or "going on"
        answer(request, {"resultType": "input_required", "inputRequests": asked, "requestState": state})
    elif method == "tools/call" and params["name"] == "task":
        answer(request, {"resultType": "task", "taskId": "1"})
    elif method == "tools/call" and params["name"] == "era":
        tools.append(tool("newer"))
        meta = {"io.modelcontextprotocol/subscriptionId": listener}
        send({"method": "notifications/tools/list_changed", "params": {"_meta": meta}})
        answer(request, {**text(json.dumps(params["_meta"])), "resultType": "complete", "structuredContent": [1, 2]})
    elif method == "tools/call":
        answer(request, {**text("newer"), "resultType": "complete"})
    else:
        refuse(request, -32601, "Method not found")
