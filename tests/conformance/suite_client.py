"""The gateway as a client under the official conformance suite: one server behind it, the one that the suite gives.

Run by the suite, which appends the server's URL and names the scenario in MCP_CONFORMANCE_SCENARIO. Does what a
user would: logs in where that is asked for, lists the tools and calls each of them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client import ClientRequestContext

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import Pool, gateway_module, write_config

from mcp_gateway.browser import LoginError, Ways, log_in
from mcp_gateway.config import RegistryFile
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings
from mcp_gateway.transport import Connector

NAME = "suite"
MOST_LOGINS = 3


def entry_of(url: str, context: dict[str, Any]) -> dict[str, Any]:
    """What a person would write into the servers file."""
    entry: dict[str, Any] = {"url": url}
    if "private_key_pem" in context:
        entry["auth"] = {
            "type": "client_credentials",
            "client_id": context["client_id"],
            "private_key": context["private_key_pem"],
            "algorithm": context.get("signing_algorithm", "RS256"),
        }
    elif "client-credentials" in os.environ["MCP_CONFORMANCE_SCENARIO"]:
        entry["auth"] = {"type": "client_credentials", **credentials(context)}
    elif "client_id" in context:
        entry["auth"] = credentials(context)
    elif "cimd" in os.environ["MCP_CONFORMANCE_SCENARIO"]:
        entry["auth"] = {"client_metadata_url": "https://conformance-test.local/client-metadata.json"}
    return entry


def credentials(context: dict[str, Any]) -> dict[str, str]:
    """Those that the scenario has registered."""
    return {key: context[key] for key in ("client_id", "client_secret") if key in context}


def browse(url: str) -> bool:
    """A browser whose user agrees to everything."""

    def follow() -> None:
        httpx2.get(url, follow_redirects=True)

    threading.Thread(target=follow, daemon=True).start()
    return True


def say(text: str) -> None:
    """What a person would read."""
    sys.stderr.write(f"{text}\n")


def arguments_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Values that fit the schema of a tool."""
    made: dict[str, Any] = {"string": "words", "integer": 5, "number": 5, "boolean": True, "object": {}, "array": []}
    properties: dict[str, Any] = schema.get("properties", {})
    wanted = schema.get("required", [])
    return {name: made.get(str(properties.get(name, {}).get("type")), "words") for name in wanted}


async def elicit(_: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    """A person who takes the defaults, or says yes."""
    content: dict[str, Any] = {}
    if isinstance(params, types.ElicitRequestFormParams):
        properties: dict[str, Any] = params.model_dump(by_alias=True)["requestedSchema"].get("properties", {})
        content = {name: field["default"] for name, field in properties.items() if "default" in field}
        required: dict[str, Any] = {name: True for name, field in properties.items() if field.get("type") == "boolean"}
        content = {**required, **content}
    return types.ElicitResult(action="accept", content=content)


async def sample(_: ClientRequestContext, __: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """A model of few words."""
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="words"), model="m")


async def roots(_: ClientRequestContext) -> types.ListRootsResult:
    """One folder."""
    return types.ListRootsResult(roots=[types.Root.model_validate({"uri": "file:///made/up"})])


async def work(url: str, context: dict[str, Any]) -> None:
    """Loads the server and calls each of its tools, logging in as often as a person would."""
    home = Path(tempfile.mkdtemp())
    write_config(home / "servers.json", {NAME: entry_of(url, context)})
    settings, redact = Settings(home=home), Redactor()
    registry = RegistryFile({}, home / "servers.json", [], dict)
    pool = Pool(registry, Connector(home, dict(os.environ), redact), settings, redact)
    gateway = gateway_module.Gateway(settings, pool, redact)
    callbacks: dict[str, Any] = {
        "elicitation_callback": elicit,
        "sampling_callback": sample,
        "list_roots_callback": roots,
    }
    async with gateway, Client(gateway_module.build(gateway), mode="legacy", **callbacks) as client:
        logins = 0

        async def ask(tool: str, **parameters: Any) -> str:
            nonlocal logins
            while True:
                said = str(await client.call_tool(tool, parameters))
                say(f"{tool}: {said[:400]}")
                if "gateway.py login" not in said or logins >= MOST_LOGINS:
                    return said
                logins += 1
                say(await log_in(pool.entry(NAME), home, Ways(say, None, browse)))

        await ask("load_mcp_tools", mcp_name=NAME)
        known = pool.known(pool.entry(NAME))
        tools = known.tools if known is not None else ()
        made = [(tool["name"], arguments_of(dict(tool.get("inputSchema") or {}))) for tool in tools]
        wanted = [(call["name"], call["arguments"]) for call in context.get("toolCalls", [])]
        for name, arguments in wanted or made:
            try:
                await ask("call_mcp_tool", mcp_name=NAME, tool_name=name, arguments=arguments)
            except MCPError as exc:
                say(f"{name}: {exc}")


if __name__ == "__main__":
    try:
        anyio.run(
            work,
            sys.argv[-1],
            json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}"),
        )
    except LoginError as failed:
        say(f"no log-in: {failed}")
        sys.exit(1)
