"""The gateway: three tools in front of every MCP server of a user.

`python gateway.py` serves MCP over stdio, for a client's config. `python gateway.py --help` shows
what a person can do with it at a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from mcp.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    ListToolsResult,
    PaginatedRequestParams,
    RequestParams,
    Tool,
    ToolAnnotations,
)

from mcp_gateway import __version__, builtin, host, logs, menu, private, results
from mcp_gateway.address import Address, listen
from mcp_gateway.arguments import as_object, diagnosis, repair, schema_of
from mcp_gateway.audience import Audience
from mcp_gateway.builtin import Builtin
from mcp_gateway.caller import Caller, Json
from mcp_gateway.catalog import Catalog
from mcp_gateway.config import RegistryFile
from mcp_gateway.door import Door, House
from mcp_gateway.errors import BadParameters, GatewayError, ProtocolRefusal
from mcp_gateway.knowledge import Knowledge
from mcp_gateway.offers import Offers
from mcp_gateway.parking import Parking
from mcp_gateway.pool import Pool
from mcp_gateway.registry import RESERVED
from mcp_gateway.relay import Context, converse
from mcp_gateway.request import CALL, Request
from mcp_gateway.results import Result
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings, dotenv_files, load_settings, read_variables
from mcp_gateway.store import Store
from mcp_gateway.transport import Connector
from servers import MCP_SERVERS

PROJECT = Path(__file__).resolve().parent
NAME = "gateway"
_MOST_RESULT_CHARS = 500_000
"""The most that Claude Code grants to one tool."""

logger = logging.getLogger(logs.LOGGER)

_STRING = {"type": "string"}

DESCRIPTIONS = {
    "list_available_mcps": (
        "List the MCP servers behind this gateway. With query (what you want to do): "
        "the best matching tools of all servers, ready to call."
    ),
    "load_mcp_tools": (
        "Show a server's instructions and tool signatures. query picks tools to show in detail; "
        "an exact tool name shows its full schema."
    ),
    "call_mcp_tool": (
        "Call a tool of a server; arguments is the object that the tool's signature asks for. No load is needed first."
    ),
}
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "list_available_mcps": {"type": "object", "properties": {"query": _STRING}},
    "load_mcp_tools": {
        "type": "object",
        "properties": {"mcp_name": _STRING, "query": _STRING},
        "required": ["mcp_name"],
    },
    "call_mcp_tool": {
        "type": "object",
        "properties": {"mcp_name": _STRING, "tool_name": _STRING, "arguments": {"type": "object"}},
        "required": ["mcp_name", "tool_name"],
    },
}
USAGES = {
    "list_available_mcps": 'list_available_mcps(query?: "words")',
    "load_mcp_tools": 'load_mcp_tools(mcp_name: "server", query?: "words")',
    "call_mcp_tool": 'call_mcp_tool(mcp_name: "server", tool_name: "tool", arguments?: {…})',
}


ANSWERED = (
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "logging/setLevel",
    "subscriptions/listen",
)
"""What the door answers, and clients are told of."""


class Gateway:
    """The three tools, over a pool of servers."""

    def __init__(self, settings: Settings, pool: Pool, redact: Redactor) -> None:
        """Answer from `pool`."""
        self.settings = settings
        self.pool = pool
        self.redact = redact
        self._store = Store(settings.home / "results")
        self._builtin = Builtin(pool, self._store, settings.max_result_chars)
        self.offers = Offers(pool)
        parking, audience = Parking(settings.question_timeout), Audience(pool, self.offers.owner)
        self.house = House(pool, self.offers, parking, audience, redact)
        self.door = Door(self.house, SCHEMAS, self.answer)

    async def __aenter__(self) -> Self:
        await self.pool.__aenter__()
        await self.door.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.pool.close()
        try:
            await self.door.__aexit__(exc_type, exc, tb)
        finally:
            await self.pool.__aexit__(exc_type, exc, tb)

    async def list_available_mcps(self, parameters: Mapping[str, Any], _: Caller) -> Result:
        """All servers, or the tools that match a query; nothing is started."""
        query = str(parameters.get("query") or "").strip()
        lines = self.lines()
        if query:
            hits = self.pool.search(query, [line.entry for line in lines if line.entry.usable])
            return results.text_result(menu.search_answer(query, lines, hits))
        problems = [self.redact(problem) for problem in (*self.pool.registry.problems, *self.settings.problems)]
        return results.text_result(f"{menu.server_list(lines, problems)}\n- {RESERVED}: {builtin.PURPOSE}")

    async def load_mcp_tools(self, parameters: Mapping[str, Any], caller: Caller) -> Result:
        """A server's instructions and tools."""
        name = self._name(parameters, "load_mcp_tools", "mcp_name")
        query = str(parameters.get("query") or "")
        if name == RESERVED:
            return results.text_result(menu.tool_list(name, builtin.KNOWLEDGE, query, builtin.matching(query)))
        knowledge = await self.pool.knowledge(name, caller)
        knowledge = replace(knowledge, tools_error=self.redact(knowledge.tools_error))
        hits = self.pool.search(query, [self.pool.entry(name)]) if query.strip() else []
        return results.text_result(menu.tool_list(name, knowledge, query, [tool for _, tool in hits]))

    async def call_mcp_tool(self, parameters: Mapping[str, Any], caller: Caller) -> Result:
        """The result of a server's tool, unchanged up to the budget of text."""
        name = self._name(parameters, "call_mcp_tool", "mcp_name")
        tool = self._name(parameters, "call_mcp_tool", "tool_name")
        arguments = as_object(parameters.get("arguments"))
        if arguments is None:
            raise self._bad("call_mcp_tool", "arguments must be an object")
        if name == RESERVED:
            return await self._builtin.call(tool, repair(arguments, schema_of(builtin.KNOWLEDGE.tool(tool))), caller)
        result, note = await self._call_child(name, tool, arguments, caller)
        budget = self.settings.max_result_chars
        if results.over_budget(result, budget):
            result = results.shortened(result, budget, self._store.keep)
        return results.with_note(result, note) if note else result

    async def _call_child(self, name: str, tool: str, given: dict[str, Any], caller: Caller) -> tuple[Result, str]:
        """The child's result, and a diagnosis where it refused arguments that contradict its schema."""
        sent = given
        known: Mapping[str, Any] | None = None

        async def send(answers: Json) -> Result:
            def build(knowledge: Knowledge) -> Request:
                nonlocal sent, known
                known = knowledge.tool(tool)
                sent = repair(given, schema_of(known))
                params: dict[str, Any] = {"name": (known or {}).get("name", tool), "arguments": sent, **answers}
                if caller.meta:
                    params["_meta"] = dict(caller.meta)
                return Request(CALL, params, caller, schema_of(known))

            return await self.pool.call(name, tool, build, caller)

        try:
            result = await converse(name, send, caller)
        except ProtocolRefusal as exc:
            note = diagnosis(known, sent) if known else ""
            message = f"{exc.message}\n\n{note}" if note else exc.message
            raise ProtocolRefusal(exc.code, message, exc.data) from exc
        self.offers.note_links(name, result.get("content"))
        return result, diagnosis(known, sent) if known and results.refused(result) else ""

    async def ask(self, tool: str, parameters: Mapping[str, Any], caller: Caller) -> Result:
        """One of the three tools.

        Raises:
            GatewayError: See the tree in `errors`.
        """
        self._check(tool, parameters)
        return await getattr(self, tool)(parameters, caller)

    async def answer(self, tool: str, parameters: Mapping[str, Any], caller: Caller) -> Result:
        """Ask, shape, return; every failure is a result that a model can act on.

        Raises:
            MCPError: The child answered with an error of the protocol, or the gateway has a bug.
        """
        try:
            return await self.ask(tool, parameters, caller)
        except ProtocolRefusal as exc:
            raise MCPError(exc.code, exc.message, exc.data) from exc
        except GatewayError as exc:
            logger.info("%s: %s", tool, exc)
            return results.failure(exc, self.redact)
        except MCPError:
            raise
        except Exception as exc:
            logger.exception("%s failed", tool)
            raise MCPError(INTERNAL_ERROR, "The gateway failed; its log has the reason.") from exc

    def lines(self) -> list[menu.Line]:
        """What is known of every server, without starting any."""
        pool = self.pool
        return [
            menu.Line(
                replace(entry, refused=self.redact(entry.refused)),
                pool.known(entry),
                pool.state(name),
                self.redact(pool.failure(name)),
            )
            for name, entry in pool.registry.entries.items()
        ]

    def definitions(self) -> str:
        """What a client hands to its model of the gateway, all the time."""
        tools = [{"name": name, "description": DESCRIPTIONS[name], "input_schema": SCHEMAS[name]} for name in SCHEMAS]
        return f"{json.dumps(tools)}\n{self.instructions()}"

    def instructions(self) -> str:
        """What the client's model reads before it asks for anything."""
        return menu.own_instructions(self.lines())

    def _check(self, tool: str, parameters: Mapping[str, Any]) -> None:
        unknown = [name for name in parameters if name not in SCHEMAS[tool]["properties"]]
        if unknown:
            hint = "; the tool's own arguments belong into arguments" if tool == "call_mcp_tool" else ""
            raise self._bad(tool, f"it has no parameter {', '.join(unknown)}{hint}")

    def _name(self, parameters: Mapping[str, Any], tool: str, parameter: str) -> str:
        value = parameters.get(parameter)
        if not isinstance(value, str) or not value.strip():
            raise self._bad(tool, f"{parameter} is missing")
        return value.strip()

    @staticmethod
    def _bad(tool: str, reason: str) -> BadParameters:
        return BadParameters(tool, reason, USAGES[tool])


class FrontServer(Server[Any]):
    """The SDK's server, which also says that its lists may change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """See the SDK."""
        changing = notification_options or NotificationOptions(prompts_changed=True, resources_changed=True)
        return super().create_initialization_options(changing, experimental_capabilities, extensions)


def build(gateway: Gateway) -> FrontServer:
    """The MCP server that clients of both eras talk to."""
    tools = [_tool(name, gateway.settings) for name in SCHEMAS]

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    offers = gateway.offers
    server = FrontServer(
        NAME,
        title="MCP gateway",
        version=__version__,
        instructions=gateway.instructions(),
        on_list_tools=list_tools,
    )
    for method in (*ANSWERED, *(("completion/complete",) if offers.complete_anything() else ())):
        server.add_request_handler(method, RequestParams, _at_the_door)
    server.middleware.append(gateway.door)
    return server


async def _at_the_door(ctx: Context, _: RequestParams) -> dict[str, Any]:
    """Declares that there is an answer; `Door` gives it before this is reached."""
    raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)


def _tool(name: str, settings: Settings) -> Tool:
    reads = name != "call_mcp_tool"
    meta: dict[str, Any] = {"anthropic/alwaysLoad": True}
    if not reads:
        chars = settings.max_result_chars or _MOST_RESULT_CHARS
        meta["anthropic/maxResultSizeChars"] = min(chars, _MOST_RESULT_CHARS)
    return Tool(
        name=name,
        description=DESCRIPTIONS[name],
        input_schema=SCHEMAS[name],
        annotations=ToolAnnotations(read_only_hint=reads),
        _meta=meta,
    )


def assemble(settings: Settings, environ: Mapping[str, str] = os.environ) -> Gateway:
    """A gateway with everything that it is made of; nothing runs yet."""
    redact = Redactor()
    private.close_to_others(settings.home)
    logs.set_up(settings.home, settings.log_level, redact)
    dotenv = dotenv_files(PROJECT, settings.home)
    registry = RegistryFile(
        MCP_SERVERS,
        settings.config_file,
        dotenv,
        lambda: read_variables(environ, dotenv),
        required=settings.config is not None,
    )
    catalog = Catalog(settings.home / "catalog.sqlite3", redact.known)
    connector = Connector(settings.home, environ, redact, catalog, shortcuts=settings.shortcuts)
    pool = Pool(registry, connector, settings, redact, catalog)
    return Gateway(settings, pool, redact)


Work = Callable[[FrontServer, anyio.Event], Awaitable[None]]
"""Serves until the client has left or the event is set."""


async def serve(gateway: Gateway) -> host.Ending:
    """Serve over stdin and stdout until the client leaves or a signal comes; then stop every child."""

    async def work(server: FrontServer, stop: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on, stop, tasks.cancel_scope)
            async with host.stdio(gateway.pool.close) as (read, write):
                logger.info("serving, version %s", __version__)
                await server.run(read, write, server.create_initialization_options())
            tasks.cancel_scope.cancel()

    return await _serve(gateway, work)


async def serve_http(gateway: Gateway, address: Address, hosts: tuple[str, ...]) -> host.Ending:
    """Serve over Streamable HTTP until a signal comes; then stop every child.

    Raises:
        AddressError: It cannot listen there, or must not without a token.
    """
    from mcp_gateway import web  # noqa: PLC0415 - not for the serving of one client over stdio

    token = gateway.settings.http_token
    listener = listen(address, token)
    bound = Address(address.host, listener.getsockname()[1])
    allowed = web.security(bound, hosts)

    async def work(server: FrontServer, stop: anyio.Event) -> None:
        logger.info("serving %s, version %s", bound.url, __version__)
        sys.stderr.write(f"Serving MCP at {bound.url}\n")
        await web.serve(web.make_app(server, allowed, token), listener, stop)

    return await _serve(gateway, work)


async def _serve(gateway: Gateway, work: Work) -> host.Ending:
    ending, stop = host.Ending(), anyio.Event()

    def end() -> None:
        gateway.pool.close()
        stop.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ending.watch, end)  # armed outside the pool: a signal must not cut its clean-up short
        async with gateway:
            await work(build(gateway), stop)
        tasks.cancel_scope.cancel()
    logger.info("ended")
    return ending


async def _cancel_on(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def main(arguments: list[str]) -> int:
    """Serve, or do what a person asks at a terminal."""
    settings = load_settings(PROJECT)
    if arguments:
        from mcp_gateway import cli  # noqa: PLC0415 - typer and rich are not for the serving path

        return cli.main(arguments, lambda: assemble(settings), serve_http)
    if sys.stdin is None or sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - closed by the caller
        os.write(2, b"mcp gateway: stdin and stdout are needed to serve a client; see gateway.py --help\n")
        return 2
    if sys.stdin.isatty():
        sys.stderr.write("Serving MCP on stdin and stdout, for a client. To look around: gateway.py --help\n")
    anyio.run(serve, assemble(settings)).die()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
