"""Answers a client's requests before the SDK's typed layer.

That layer parses an answer into models of one revision of the protocol: it drops what they do not have and
refuses a whole answer for one block that they do not know. What a middleware returns goes out as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from mcp.server.context import CallNext, HandlerResult
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND

from mcp_gateway import logs
from mcp_gateway.audience import Audience
from mcp_gateway.caller import LEVELS, Caller, Client, Json, as_dict
from mcp_gateway.errors import (
    BadParameters,
    GatewayError,
    NotWaiting,
    ProtocolRefusal,
    UnknownPrompt,
    UnknownResource,
    UnknownServer,
)
from mcp_gateway.offers import LISTS, Offers
from mcp_gateway.parking import Parking
from mcp_gateway.pool import Pool
from mcp_gateway.relay import Clients, Context, declared, for_client
from mcp_gateway.request import CALL
from mcp_gateway.results import Result, failure

logger = logging.getLogger(logs.LOGGER)

_RESOURCE_NOT_FOUND = -32002
"""Until 2025-11-25; later revisions say INVALID_PARAMS."""

_UNTIL_2025 = {"logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
"""Methods that 2026-07-28 has removed."""

CallTool = Callable[[str, Mapping[str, Any], Caller], Awaitable[Result]]
"""Calls one of the gateway's own tools: name, arguments, caller. Failures are results."""
Answer = Callable[[Json, Caller], Awaitable[Result]]


@dataclass(frozen=True)
class House:
    """What stands behind the door."""

    pool: Pool
    offers: Offers
    parking: Parking
    audience: Audience
    redact: Callable[[str], str]


class Door:
    """A middleware of the SDK's server; as a context, it holds what answers outlive their requests by."""

    def __init__(self, house: House, tools: Mapping[str, Any], call_tool: CallTool) -> None:
        """Stand before `house`, whose own tools are `tools`."""
        self._house = house
        self._tools = tools
        self._call_tool = call_tool
        self.clients = Clients(self._leave)
        self._answers: Mapping[str, Answer] = {
            "tools/call": self._call,
            "prompts/get": house.offers.get_prompt,
            "resources/read": house.offers.read_resource,
            "completion/complete": house.offers.complete,
            "logging/setLevel": self._set_log_level,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
        }

    async def __aenter__(self) -> Self:
        await self._house.parking.__aenter__()
        await self._house.audience.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await self._house.audience.__aexit__(exc_type, exc, tb)
        finally:
            await self._house.parking.__aexit__(exc_type, exc, tb)

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """The SDK's middleware interface."""
        method, params = ctx.method, ctx.params or {}
        if ctx.request_id is None:
            return await self._notified(ctx, call_next)
        if method == "initialize":
            self.clients.client(ctx, {}).capabilities = declared(params)
        if method.startswith("tasks/"):
            raise MCPError(METHOD_NOT_FOUND, "This gateway does not carry tasks; call a tool without one.", method)
        caller = self.clients.caller(ctx)
        if method == "subscriptions/listen" and caller.client.modern:
            return await self._translated(self._house.audience.listen(caller, params, ctx.request_id), caller)
        removed = caller.client.modern and method in _UNTIL_2025
        if removed or (method not in self._answers and method not in LISTS):
            return await call_next(ctx)
        result = await self._translated(self._answer(method, params, caller), caller)
        return for_client(method, result, caller)

    async def _answer(self, method: str, params: Json, caller: Caller) -> Result:
        if method in LISTS:
            return self._house.offers.page(method, params)
        answer = self._answers[method]
        try:
            return await self._house.parking.run(caller, lambda served: answer(params, served))
        except NotWaiting as exc:
            if method != CALL:
                raise
            return failure(exc, self._house.redact)

    async def _translated(self, answering: Awaitable[Result], caller: Caller) -> Result:
        """Ask, shape, return: every failure is an error of the protocol."""
        try:
            return await answering
        except ProtocolRefusal as exc:
            raise MCPError(exc.code, exc.message, exc.data) from exc
        except GatewayError as exc:
            raise MCPError(_code(exc, caller), self._house.redact(str(exc)), _data(exc)) from exc
        except MCPError:
            raise
        except Exception as exc:
            logger.exception("a request failed")
            raise MCPError(INTERNAL_ERROR, "The gateway failed; its log has the reason.") from exc

    async def _call(self, params: Json, caller: Caller) -> Result:
        name: object = params.get("name")
        if not isinstance(name, str) or name not in self._tools:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {name}. The tools are {', '.join(self._tools)}.")
        if not isinstance(params.get("arguments") or {}, dict):
            raise MCPError(INVALID_PARAMS, "arguments must be an object")
        return await self._call_tool(name, as_dict(params.get("arguments")), caller)

    async def _set_log_level(self, params: Json, caller: Caller) -> Result:
        level = params.get("level")
        if level not in LEVELS:
            raise BadParameters("logging/setLevel", f'"{level}" is no level', f"one of {', '.join(LEVELS)}")
        caller.client.log_level = str(level)
        self._house.pool.set_log_level(caller.client)
        return {}

    async def _subscribe(self, params: Json, caller: Caller) -> Result:
        audience = self._house.audience
        await audience.subscribe(audience.join(caller.client), str(params.get("uri") or ""), caller)
        return {}

    async def _unsubscribe(self, params: Json, caller: Caller) -> Result:
        audience = self._house.audience
        audience.unsubscribe(audience.join(caller.client), str(params.get("uri") or ""))
        return {}

    async def _notified(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """A notification of the client."""
        if ctx.method == "notifications/initialized":
            self._house.audience.join(self.clients.client(ctx, {}))
        elif ctx.method == "notifications/roots/list_changed":
            self._house.pool.tell(self.clients.client(ctx, {}), ctx.method)
        return await call_next(ctx)

    def _leave(self, client: Client) -> None:
        """A client is gone, and with it what it had begun and what ran for it alone."""
        self._house.parking.leave(client)
        self._house.audience.leave(client)
        self._house.pool.leave(client)


def _code(exc: GatewayError, caller: Caller) -> int:
    if isinstance(exc, UnknownResource) and not caller.client.modern:
        return _RESOURCE_NOT_FOUND
    wrong = isinstance(exc, BadParameters | NotWaiting | UnknownPrompt | UnknownResource | UnknownServer)
    return INVALID_PARAMS if wrong else INTERNAL_ERROR


def _data(exc: GatewayError) -> Any:
    return {"uri": exc.uri} if isinstance(exc, UnknownResource) else None
