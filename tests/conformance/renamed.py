"""Stands between the official suite and the gateway, and renames what the suite asks for by the gateway's names.

The suite calls the tools of a server by their names; behind the gateway they are reached by `call_mcp_tool`, and
prompts are `server__prompt`. Requests are rewritten in these names and nothing else; answers pass as they come.
Arguments: the port to listen on, the URL of the gateway, the name of the server.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from mcp_gateway.caller import as_dict

PORT, TARGET, SERVER = int(sys.argv[1]), sys.argv[2], sys.argv[3]
OWN = {"list_available_mcps", "load_mcp_tools", "call_mcp_tool"}
HOP = {"content-length", "transfer-encoding", "connection", "date", "server"}
client = httpx2.AsyncClient(timeout=None)


def renamed(message: dict[str, Any]) -> dict[str, Any]:
    """The message with the gateway's names."""
    params = as_dict(message.get("params"))
    reference = as_dict(params.get("ref"))
    if message.get("method") == "tools/call" and params.get("name") not in OWN:
        inner = {"mcp_name": SERVER, "tool_name": params.get("name"), "arguments": as_dict(params.get("arguments"))}
        return {**message, "params": {**params, "name": "call_mcp_tool", "arguments": inner}}
    if message.get("method") == "prompts/get":
        return {**message, "params": {**params, "name": f"{SERVER}__{params.get('name')}"}}
    if message.get("method") == "completion/complete" and reference.get("type") == "ref/prompt":
        return {**message, "params": {**params, "ref": {**reference, "name": f"{SERVER}__{reference['name']}"}}}
    return message


async def pass_on(request: Request) -> Response:
    """One request, with its answer as it comes."""
    body = await request.body()
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    if headers["host"].startswith(("localhost:", "127.0.0.1:")):  # what the suite has made up goes on as it is
        headers["host"] = httpx2.URL(TARGET).netloc.decode()
    asked = parsed(body)
    if asked:
        sent = renamed(asked)
        body = json.dumps(sent).encode()
        if headers.get("mcp-name") == as_dict(asked.get("params")).get("name", ""):
            headers["mcp-name"] = str(as_dict(sent.get("params")).get("name"))
    answer = await client.send(client.build_request(request.method, TARGET, content=body, headers=headers), stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in HOP}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, kept)


def parsed(body: bytes) -> dict[str, Any]:
    """The message in a body; empty where there is none that could be renamed."""
    try:
        return as_dict(json.loads(body))
    except ValueError:
        return {}


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    """Close the client at the end."""
    yield
    await client.aclose()


app = Starlette(routes=[Route("/mcp", pass_on, methods=["GET", "POST", "DELETE"])], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, port=PORT, log_level="error")
