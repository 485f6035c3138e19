"""What crosses between a client's request and a server's: who asks, in which era, and how it is answered.

Cancellation needs nothing here: the SDK cancels the task of a request that the client gave up, and a
request that is abandoned tells the server.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INTERNAL_ERROR,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    Request,
)
from mcp_types.methods import CACHEABLE_METHODS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ConfigDict, ValidationError

from mcp_gateway import logs, questions
from mcp_gateway.caller import Ask, Caller, Client, Json, Tell, as_dict, carried
from mcp_gateway.errors import CannotAsk, NotCarried
from mcp_gateway.results import Result

logger = logging.getLogger(logs.LOGGER)

Context = ServerRequestContext[Any, Any]

_OURS = {
    "progressToken",
    PROTOCOL_VERSION_META_KEY,
    CLIENT_INFO_META_KEY,
    CLIENT_CAPABILITIES_META_KEY,
    LOG_LEVEL_META_KEY,
}
"""Keys of a request's `_meta` that speak of this hop alone."""
_STATE_KEY = "mcp_gateway.client"
_ANSWERS = ("inputResponses", "requestState")
_MOST_ROUNDS = 10
"""Of questions in one call; as many as the SDKs allow."""
_STATE_ONLY_PAUSE = 0.25
"""Seconds before a call is made again whose server asks for nothing but that."""


class _Question(Request[dict[str, Any], str]):
    """A request to the client with parameters as the server sent them."""


class _Answer(BaseModel):
    """What the client answered, with nothing left out."""

    model_config = ConfigDict(extra="allow")


class Clients:
    """Who is connected, of clients of the handshake era; the others come with each request anew."""

    def __init__(self, on_leave: Callable[[Client], None]) -> None:
        """Call `on_leave` for each client that goes."""
        self._on_leave = on_leave

    def caller(self, ctx: Context) -> Caller:
        """The caller of the request that `ctx` belongs to."""
        params: Json = ctx.params or {}
        meta = as_dict(params.get("_meta"))
        client = self.client(ctx, meta)
        return Caller(
            client=client,
            meta={key: value for key, value in meta.items() if key not in _OURS},
            progress=ctx.session.report_progress,
            ask=None if client.modern else _asking(ctx, related=True),
            tell=_telling(ctx),
            log_level=str(meta.get(LOG_LEVEL_META_KEY) or ""),
            answers={key: params[key] for key in _ANSWERS if client.modern and key in params},
        )

    def client(self, ctx: Context, meta: Json) -> Client:
        """The client that a request or notification is from."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return Client(
                _modern_key(ctx, meta), modern=True, capabilities=carried(meta.get(CLIENT_CAPABILITIES_META_KEY))
            )
        connection = _connection_of(ctx)
        known = connection.state.get(_STATE_KEY)
        if known is None:
            known = connection.state[_STATE_KEY] = Client(connection.session_id or "")
            known.tell = connection.notify
            if ctx.request is None:  # over HTTP nobody knows whether the client listens outside of its requests
                known.ask = _asking(ctx, related=False)
            connection.exit_stack.callback(self._on_leave, known)
        return known


def _connection_of(ctx: Context) -> Connection:
    """The connection that outlives a request; the SDK has no public way to it."""
    return ctx.session._connection  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001


def _modern_key(ctx: Context, meta: Json) -> str:
    """What tells a client over HTTP from others: it has no session, but a token, a URL, an address and a name."""
    if ctx.request is None:
        return ""
    request = ctx.request
    address = request.client.host if request.client is not None else ""
    marks = [request.headers.get("authorization"), request.url.path, address, meta.get(CLIENT_INFO_META_KEY)]
    return hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()[:16]


def _asking(ctx: Context, *, related: bool) -> Ask:
    """Sends requests to the client, as a part of the request of `ctx` or on its connection."""
    metadata = ServerMessageMetadata(related_request_id=ctx.request_id) if related else None
    session = ctx.session

    async def ask(method: str, params: Json) -> dict[str, Any]:
        question = _Question(method=method, params=dict(params))
        try:
            answer = await session.send_request(cast("Any", question), _Answer, metadata=metadata)
        except ValidationError as exc:
            raise MCPError(INTERNAL_ERROR, "the client's answer is not valid") from exc
        return answer.model_dump(mode="json")

    return ask


def _telling(ctx: Context) -> Tell:
    """Sends notifications to the client as a part of the request of `ctx`."""
    session = ctx.session

    async def tell(method: str, params: Json) -> None:
        await session.send_notification(cast("Any", _Notice(method=method, params=dict(params))), ctx.request_id)

    return tell


class _Notice(BaseModel):
    """A notification to the client with parameters as the server sent them."""

    method: str
    params: dict[str, Any]


def declared(params: Json) -> dict[str, Any]:
    """What a client of the handshake era says that it can do, in its `initialize`."""
    return carried(params.get("capabilities"))


def for_client(method: str, result: Result, caller: Caller) -> Result:
    """A server's result in the envelope of the client's era; what it holds stays as it is."""
    if caller.client.modern:
        return _modern(method, result)
    adapted = {key: value for key, value in result.items() if key != "resultType"}
    if method == "tools/call":
        structured = adapted.get("structuredContent")
        if structured is not None and not isinstance(structured, dict):
            adapted["structuredContent"] = {"result": structured}
        adapted.setdefault("content", [])
    return adapted


def _modern(method: str, result: Result) -> Result:
    kind = result.get("resultType")
    complete = result if kind is not None else {**result, "resultType": "complete"}
    if method in CACHEABLE_METHODS and complete["resultType"] == "complete":
        return {"ttlMs": 0, "cacheScope": "private", **complete}
    return complete


async def converse(server: str, send: Callable[[Json], Awaitable[Result]], caller: Caller) -> Result:
    """What a server answers in the end, where it asks for input first; `send` makes the request with answers.

    A 2026-07-28 client is given the questions as they are, and comes back with the answers; an earlier one is
    asked by requests, one after the other.

    Raises:
        GatewayError: The client cannot be asked, or the answer is nothing that the gateway carries.
    """
    answers: Json = caller.answers
    for _ in range(_MOST_ROUNDS):
        result = await send(answers)
        kind = str(result.get("resultType") or "complete")
        if kind not in ("complete", "input_required"):
            raise NotCarried(server, kind)
        if kind == "complete" or caller.client.modern:
            return result
        answers = await _answers_of(server, result, caller)
    raise CannotAsk(server, f"does so for more than {_MOST_ROUNDS} rounds")


async def _answers_of(server: str, result: Result, caller: Caller) -> Json:
    """The client's answers to the questions in a result, and the state that goes back with them."""
    try:
        asked = questions.requests_of(result)
    except ValueError as exc:
        raise CannotAsk(server, str(exc)) from exc
    given: dict[str, Any] = {}
    for key, (method, params) in asked.items():
        why = questions.obstacle(method, params, caller.client.capabilities)
        if why or caller.ask is None:
            raise CannotAsk(server, why or "no client is there to be asked")
        try:
            given[key] = await caller.ask(method, questions.for_earlier(params))
        except MCPError as exc:
            raise CannotAsk(server, f"the client refused to answer ({exc.message})") from exc
    if not asked:
        await anyio.sleep(_STATE_ONLY_PAUSE)
    state = {"requestState": result["requestState"]} if "requestState" in result else {}
    return {**({"inputResponses": given} if asked else {}), **state}
