"""One run of a server, from spawn to exit, owned by one task.

Whoever needs the server waits for `settled`, then talks over the session; only the owner opens and
closes it. A run ends by itself (the server died, or was idle) or because it is told to stop; what
waits for an answer is woken in either case. It is never started twice: the next run is a new object.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio
from mcp.client import ClientSession, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.dispatcher import CallOptions, ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    CONNECTION_CLOSED,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    Implementation,
    LoggingMessageNotificationParams,
    ToolListChangedNotification,
)
from pydantic import ValidationError

from mcp_gateway import __version__, logs
from mcp_gateway.catalog import Catalog, Era, Knowledge, Tool
from mcp_gateway.errors import CallTimedOut, GatewayError, ProtocolRefusal, ServerGone, StartFailed
from mcp_gateway.registry import Entry, TimeLimit
from mcp_gateway.settings import forever_if_zero
from mcp_gateway.transport import Connect, Link

logger = logging.getLogger(logs.LOGGER)

CLIENT_INFO = Implementation(name="claude-mcp-gateway", version=__version__)

_ENVELOPE: Mapping[str, Any] = {
    CLIENT_INFO_META_KEY: CLIENT_INFO.model_dump(by_alias=True, exclude_none=True),
    CLIENT_CAPABILITIES_META_KEY: {},
}
"""What every request to a 2026-07-28 server carries beside the version."""

_PROBE_LIMIT = 3.0
"""Seconds that a server of unknown era may take over `server/discover` before `initialize` is sent
behind it. None of 46 servers hung on the question, and one that is merely slow to start answers both."""
_LIST_LIMIT = 20.0
"""Seconds for `tools/list`; a server that cannot list its tools can still be called."""
_MAX_PAGES = 500
_LONGEST_SLEEP = 86_400.0
_LAST_WORDS_LIMIT = 1.0
"""How long a caller waits for the owner to learn why a server died."""


@dataclass(frozen=True)
class Limits:
    """How long things may take for one server."""

    start: TimeLimit
    operation: TimeLimit
    idle: TimeLimit


@dataclass(frozen=True)
class Request:
    """One `tools/call` as it goes to a server.

    Attributes:
        tool: The tool's name.
        params: All parameters of the request; what the client sent beside the arguments included.
        on_progress: Receives the server's progress.
        schema: The tool's input schema, if known; HTTP servers may want some arguments as headers.
    """

    tool: str
    params: Mapping[str, Any]
    on_progress: ProgressFnT | None = None
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Connection:
    """One run of one server."""

    def __init__(self, entry: Entry, connect: Connect, limits: Limits, catalog: Catalog) -> None:
        """Prepare a run; nothing starts before `run`. What it learns goes into `catalog`."""
        self.entry = entry
        self.settled = anyio.Event()
        self.ended = anyio.Event()
        self.failure: GatewayError | None = None
        self.started_at = anyio.current_time()
        self.era: Era | None = catalog.era(entry)
        self.knowledge: Knowledge | None = None
        self.in_flight = 0
        self.stop_reason = ""
        self._ready = False
        self._connect = connect
        self._limits = limits
        self._catalog = catalog
        self._stop = anyio.Event()
        self._quiet = anyio.Event()
        self._last_used = self.started_at
        self._link: Link | None = None
        self._dispatcher: JSONRPCDispatcher[Any] | None = None
        self._session: ClientSession | None = None
        self._tools_changed = False
        self._ids = itertools.count(1_000)

    def __repr__(self) -> str:
        return f"<Connection {self.entry.name} {self.state}>"

    @property
    def state(self) -> str:
        """One of starting, running, stopping, ended."""
        if self.ended.is_set():
            return "ended"
        if self._stop.is_set() or (self._link is not None and self._link.ended.is_set()):
            return "stopping"
        return "running" if self._ready else "starting"

    @property
    def usable(self) -> bool:
        """Whether a call may wait for this run, or talk over it."""
        return self.state in {"starting", "running"}

    def stop(self, reason: str) -> None:
        """Tell the owner to stop; the reason is the end of a sentence whose subject is the server."""
        if not self._stop.is_set():
            self.stop_reason = reason
            self._stop.set()

    async def run(self) -> None:
        """Own the run: start, serve until there is a reason to stop, clean up. Never raises."""
        try:
            async with self._connect(self.entry) as link:
                self._link = link
                await self._serve(link)
        except Exception as exc:  # noqa: BLE001 - the one boundary: a run that fails hurts no other
            self._note_failure(exc)
        finally:
            if not self._ready and self.failure is None:
                self.failure = self._not_started(self.stop_reason or self._how_it_ended())
            self.settled.set()
            self.ended.set()

    async def _serve(self, link: Link) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on, link.ended, tasks.cancel_scope)
            tasks.start_soon(_cancel_on, self._stop, tasks.cancel_scope)
            dispatcher = JSONRPCDispatcher[Any](link.read, link.write)
            async with ClientSession(
                dispatcher=dispatcher,
                client_info=CLIENT_INFO,
                message_handler=self._on_message,
                logging_callback=self._on_log,
            ) as session:
                self._dispatcher, self._session = dispatcher, session
                try:
                    await self._start(session)
                    if self.era == "modern":
                        tasks.start_soon(self._listen, session)
                    await self._until_idle()
                finally:
                    link.ended.set()  # before the session ends and wakes those who wait for answers
            tasks.cancel_scope.cancel()

    async def _start(self, session: ClientSession) -> None:
        limit = self._limits.start
        with anyio.move_on_after(limit.seconds) as scope:
            self.era = await negotiate(session, self.era)
            self._catalog.remember_era(self.entry, self.era)
            await self._introduce(session)
            self._ready = True
        if scope.cancelled_caught:
            # A server that never answered may be one that hangs on the question: ask the old way next.
            self._catalog.remember_era(self.entry, "handshake")
            raise self._not_started(f"it was not ready after {limit.seconds:g} s ({limit.source})")
        self._last_used = anyio.current_time()
        self.settled.set()
        logger.info("%s is ready: %d tools", self.entry.name, len(self.knowledge.tools if self.knowledge else ()))

    async def _introduce(self, session: ClientSession) -> None:
        info = session.server_info
        title = (info.title or info.name) if info else ""
        tools, error = await self._list_tools()
        self._learn(Knowledge(tools, session.instructions or "", title, error))

    def _learn(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._catalog.remember(self.entry, knowledge)

    async def relist(self, *, again: bool = False) -> None:
        """Ask for the tools again, if there is a reason to: they changed, could not be listed, or `again`."""
        known = self.knowledge
        if known is None or not (self._tools_changed or known.tools_error or again):
            return
        self._tools_changed = False
        with suppress(MCPError):
            tools, error = await self._list_tools()
            self._learn(replace(known, tools=known.tools if error else tools, tools_error=error))

    async def _list_tools(self) -> tuple[tuple[Tool, ...], str]:
        tools: list[Tool] = []
        try:
            with anyio.fail_after(_LIST_LIMIT):
                async for page in self._pages("tools/list"):
                    tools.extend(tool for tool in _dicts(page.get("tools")) if isinstance(tool.get("name"), str))
        except MCPError as exc:
            if exc.code == METHOD_NOT_FOUND:
                return (), ""
            if exc.code == CONNECTION_CLOSED and not self.usable:
                raise
            return (), f"error {exc.code}: {exc.message}"
        except TimeoutError:
            return (), f"no answer to tools/list within {_LIST_LIMIT:g} s"
        return tuple(tools), ""

    async def _pages(self, method: str) -> AsyncIterator[dict[str, Any]]:
        """All pages of a list; a cursor that comes again ends it."""
        seen: set[str] = set()
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._send(method, {"cursor": cursor} if cursor else {}, {})
            yield page
            following = page.get("nextCursor")
            if not isinstance(following, str) or not following or following in seen:
                return
            seen.add(following)
            cursor = following

    async def call(self, request: Request) -> dict[str, Any]:
        """Sends `tools/call`; the result exactly as the server sent it.

        Raises:
            ProtocolRefusal: The server answered with an error of the protocol.
            CallTimedOut: It did not answer in time; it was told to stop.
            ServerGone: The run ended first.
        """
        request_id = next(self._ids)
        opts: CallOptions = {"request_id": request_id}
        if request.on_progress is not None:
            opts["on_progress"] = request.on_progress
        if self.entry.kind != "stdio":
            opts["headers"] = _call_headers(request)
        try:
            with anyio.move_on_after(self._limits.operation.seconds):
                return await self._send("tools/call", request.params, opts)
        except MCPError as exc:
            if exc.code == CONNECTION_CLOSED and self._lost(request_id):
                raise await self._gone(request_id) from exc
            raise ProtocolRefusal(exc.code, exc.message, exc.data) from exc
        finally:
            self._forget(request_id)
        raise CallTimedOut(self.entry.name, request.tool, self._limits.operation.source)

    async def _send(self, method: str, params: Mapping[str, Any], opts: CallOptions) -> dict[str, Any]:
        """Sends a request past the SDK's typed layer, so that the answer is neither parsed twice nor refused."""
        session, dispatcher = self._session, self._dispatcher
        if session is None or dispatcher is None:
            raise MCPError(CONNECTION_CLOSED, "not connected")
        version = session.protocol_version or ""
        if self.entry.kind != "stdio":
            known = opts.get("headers", {})
            opts["headers"] = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: method, **known}
        if self.era == "modern":
            envelope = {**params.get("_meta", {}), **_ENVELOPE, PROTOCOL_VERSION_META_KEY: version}
            params = {**params, "_meta": envelope}
        return await dispatcher.send_raw_request(method, params, opts)

    def _lost(self, request_id: int) -> bool:
        """Whether a closed connection is ours: a server may answer with the same code."""
        if self.usable and not self._written(request_id):
            self.stop("closed its input")
        return not self.usable

    def _written(self, request_id: int) -> bool:
        """Whether the request may have reached the server."""
        written = self._link.written if self._link is not None else None
        return written is None or request_id in written

    async def _gone(self, request_id: int) -> ServerGone:
        acted = self._written(request_id)
        with anyio.move_on_after(_LAST_WORDS_LIMIT):
            await self.ended.wait()
        reason = self.stop_reason or self._how_it_ended()
        return ServerGone(self.entry.name, reason, acted, self._last_words(), self.entry.lacks)

    def _forget(self, request_id: int) -> None:
        if self._link is not None and self._link.written is not None:
            self._link.written.discard(request_id)

    @contextmanager
    def used(self) -> Generator[None]:
        """Counts as load, and keeps the run from being idle, for as long as the block lasts."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._last_used = anyio.current_time()
            if not self.in_flight:
                self._quiet.set()

    async def _until_idle(self) -> None:
        """Returns when the server has not been used for its idle time."""
        limit = forever_if_zero(self._limits.idle.seconds)
        while True:
            if self.in_flight:
                self._quiet = anyio.Event()
                await self._quiet.wait()
            left = self._last_used + limit - anyio.current_time()
            if left <= 0:
                break
            await anyio.sleep(min(left, _LONGEST_SLEEP))
        self.stop(f"was stopped after {limit:g} s without a call")
        logger.info("%s %s", self.entry.name, self.stop_reason)

    async def _listen(self, session: ClientSession) -> None:
        """Hears of changed tools from a 2026-07-28 server, which says so only to those who ask."""
        capabilities = session.server_capabilities
        if capabilities is None or capabilities.tools is None or not capabilities.tools.list_changed:
            return
        try:
            async with listen(session, tools_list_changed=True) as events:
                async for _ in events:
                    self._tools_changed = True
        except (MCPError, SubscriptionLost, TimeoutError) as exc:
            logger.info("%s: no news of changed tools: %s", self.entry.name, exc)

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._tools_changed = True

    async def _on_log(self, params: LoggingMessageNotificationParams) -> None:
        logger.info("%s says (%s): %.500s", self.entry.name, params.level, params.data)

    def _note_failure(self, exc: Exception) -> None:
        cause = _only(exc)
        if self._ready:
            logger.warning("%s: the run failed: %r", self.entry.name, cause)
        elif isinstance(cause, GatewayError):
            self.failure = cause
        elif isinstance(cause, MCPError) and cause.code == CONNECTION_CLOSED:
            self.failure = None
        else:
            self.failure = self._not_started(_explain(cause))

    def _not_started(self, reason: str) -> StartFailed:
        return StartFailed(self.entry.name, reason, self._last_words(), self.entry.lacks)

    def _how_it_ended(self) -> str:
        return self._link.how_it_ended() if self._link is not None else "was not reached"

    def _last_words(self) -> str:
        return self._link.last_words() if self._link is not None else ""


async def negotiate(session: ClientSession, era: Era | None) -> Era:
    """Finds out which era a server speaks, asking first as it was reached before.

    Raises:
        MCPError: It speaks neither.
    """
    if era != "handshake" and await _discover(session):
        return "modern"
    try:
        await session.initialize()
    except MCPError:
        if await _discover(session):
            return "modern"
        raise
    return "handshake"


async def _discover(session: ClientSession) -> bool:
    try:
        with anyio.move_on_after(_PROBE_LIMIT):
            await session.discover()
            return True
    except (MCPError, ValidationError, RuntimeError):
        pass
    return False


def _call_headers(request: Request) -> dict[str, str]:
    """What a server over HTTP reads from headers; specification 2026-07-28, basic/transports."""
    arguments = cast("Mapping[str, Any]", request.params.get("arguments") or {})
    mapped = mcp_param_headers(x_mcp_header_map(request.schema), arguments)
    return {MCP_NAME_HEADER: encode_header_value(request.tool), **mapped}


async def _cancel_on(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _dicts(value: object) -> list[dict[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _only(exc: BaseException) -> BaseException:
    """The one exception inside nested groups of one."""
    inside: tuple[BaseException, ...] = getattr(exc, "exceptions", ())
    return _only(inside[0]) if len(inside) == 1 else exc


def _explain(cause: BaseException) -> str:
    if isinstance(cause, MCPError):
        return f"it answered with error {cause.code}: {cause.message}"
    if isinstance(cause, ValidationError):
        return f"its first answer is not valid: {cause.errors(include_url=False)[0]['msg']}"
    return str(cause) or type(cause).__name__
