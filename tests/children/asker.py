"""Asks its client what it is told to ask, in a call or outside of any; has a prompt and resources as well.

With an argument it owns resources and a template of that scheme.
"""

import itertools
import json
import os
import sys
import threading

from base import Message, answer, handshake, refuse, requests, send, text, tool

SCHEME = sys.argv[1] if len(sys.argv) > 1 else "asker"
TOOLS = [
    tool("ask"),
    tool("ask_later"),
    tool("told"),
    tool("declared"),
    tool("linked"),
    tool("change"),
    tool("pid"),
    tool("cancelled"),
    tool("ask_late"),
    tool("end"),
]
ids = itertools.count(1)
waiting: dict[str, Message] = {}
told: list[Message] = []
declared: Message = {}
prompts = [{"name": "hello", "description": "Says hello."}, {"name": "a__b"}]
resources = [{"uri": f"{SCHEME}://one", "name": "one"}, {"uri": "shared://one", "name": SCHEME}]
cancelled: list[object] = []
late: list[Message] = []


def ask(call: Message | None, arguments: Message) -> None:
    name = f"question-{next(ids)}"
    if call is not None:
        waiting[name] = call
    send({"id": name, "method": arguments["method"], "params": arguments.get("params", {})})


def contents(uri: str) -> Message:
    return {"contents": [{"uri": uri, "text": f"{SCHEME} read {uri}", "extra": {"kept": True}}], "more": 1}


def change(request: Message) -> None:
    prompts.append({"name": "changed"})
    send({"method": "notifications/prompts/list_changed"})
    send({"method": "notifications/resources/updated", "params": {"uri": f"{SCHEME}://one"}})
    answer(request, text("changed"))


def call(request: Message) -> None:
    name, arguments = request["params"]["name"], request["params"].get("arguments", {})
    if name == "ask":
        ask(request, arguments)
    elif name == "ask_late":  # the question of this call goes out in one piece with the end of another
        late.append(request)
    elif name == "end" and late:
        waiting["late"] = late.pop()
        question = {"jsonrpc": "2.0", "id": "late", **arguments}
        done = {"jsonrpc": "2.0", "id": request["id"], "result": text("ended")}
        sys.stdout.write(f"{json.dumps(question)}\n{json.dumps(done)}\n")
        sys.stdout.flush()
    elif name == "ask_later":
        threading.Timer(0.2, ask, (None, arguments)).start()
        answer(request, text("later"))
    elif name == "change":
        change(request)
    elif name == "linked":
        link = {"type": "resource_link", "uri": arguments["uri"], "name": "linked"}
        answer(request, {"content": [link]})
    elif name == "pid":
        answer(request, text(str(os.getpid())))
    else:
        answer(request, text(json.dumps({"told": told, "declared": declared}.get(name, cancelled))))


for message in requests():
    method = message.get("method")
    params: Message = message.get("params") or {}
    if method is None:
        told.append(message)
        if message["id"] in waiting:
            answer(waiting.pop(message["id"]), text(json.dumps(message.get("result", message.get("error")))))
    elif method == "initialize":
        declared = params["capabilities"]
        features: Message = {"tools": {}, "prompts": {"listChanged": True}, "completions": {}, "logging": {}}
        handshake(message, capabilities={**features, "resources": {"subscribe": True}})
    elif method == "tools/list":
        answer(message, {"tools": TOOLS})
    elif method == "prompts/list":
        answer(message, {"prompts": [*prompts, {"name": "bad", "arguments": "none"}]})
    elif method == "resources/list":
        answer(message, {"resources": [*resources, {"uri": "no://name"}]})
    elif method == "resources/templates/list":
        answer(message, {"resourceTemplates": [{"uriTemplate": f"{SCHEME}://made/{{name}}", "name": "made"}]})
    elif method == "prompts/get":
        answer(message, {"messages": [], "asked": params})
    elif method == "resources/read" and not params["uri"].endswith("gone"):
        answer(message, contents(params["uri"]))
    elif method == "completion/complete":
        answer(message, {"completion": {"values": [json.dumps(params)]}})
    elif method in {"resources/subscribe", "resources/unsubscribe", "logging/setLevel", "ping"}:
        told.append({"method": method, **params})
        answer(message, {})
    elif method == "tools/call":
        call(message)
    elif method == "notifications/cancelled":
        cancelled.append(params.get("reason"))
    elif "id" in message:
        refuse(message, -32002 if method == "resources/read" else -32601, "Not found here", params)
    else:
        told.append({"method": method})
