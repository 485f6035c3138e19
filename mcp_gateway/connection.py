"""One run of a server, from spawn to exit, owned by one task.

Whoever needs the server waits for `settled`, then talks over the session; only the owner opens and
closes it. A run ends by itself (the server died, or was idle) or because it is told to stop; what
waits for an answer is woken in either case. It is never started twice: the next run is a new object.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup
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
    PROTOCOL_VERSION_META_KEY,
    Implementation,
    LoggingMessageNotificationParams,
    ToolListChangedNotification,
)
from pydantic import ValidationError

from mcp_gateway import __version__, logs
from mcp_gateway.catalog import Catalog
from mcp_gateway.errors import (
    CallTimedOut,
    GatewayError,
    HttpRefused,
    ProtocolRefusal,
    ServerGone,
    StartFailed,
    http_advice,
)
from mcp_gateway.knowledge import Era, Knowledge
from mcp_gateway.listing import list_tools
from mcp_gateway.negotiation import negotiate
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

_SETTLING = 0.5
"""Seconds to wait after a notice of changed tools for others: some servers send four at once."""
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
        self.limits = limits
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
        self._catalog = catalog
        self._stop = anyio.Event()
        self._quiet = anyio.Event()
        self._last_used = self.started_at
        self._link: Link | None = None
        self._dispatcher: JSONRPCDispatcher[Any] | None = None
        self._session: ClientSession | None = None
        self._tasks: TaskGroup | None = None
        self._tools_changed = anyio.Event()
        self._ids = itertools.count(1_000_000)

    def __repr__(self) -> str:
        return f"<Connection {self.entry.name} {self.state}>"

    @property
    def state(self) -> str:
        """One of starting, running, stopping, ended."""
        if self.ended.is_set():
            return "ended"
        if self._stop.is_set() or self.failure is not None or (self._link is not None and self._link.ended.is_set()):
            return "stopping"
        return "running" if self._ready else "starting"

    @property
    def usable(self) -> bool:
        """Whether a call may wait for this run, or talk over it."""
        return self.state in {"starting", "running"}

    def adopt(self, entry: Entry, limits: Limits) -> None:
        """Go on under an entry that starts the same server with other words or limits."""
        self.entry = entry
        self.limits = limits

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
            self._tasks = tasks
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
                    tasks.start_soon(self._keep_fresh)
                    if self.era == "modern":
                        tasks.start_soon(self._listen, session)
                    if self.failure is None:
                        await self._until_idle()
                finally:
                    link.ended.set()  # before the session ends and wakes those who wait for answers
            tasks.cancel_scope.cancel()

    async def _start(self, session: ClientSession) -> None:
        limit = self.limits.start
        with anyio.move_on_after(limit.seconds) as scope:
            self.era = await negotiate(session, self.era)
            self._catalog.remember_era(self.entry, self.era)
            await self._introduce(session)
            self._ready = True
        if scope.cancelled_caught:
            # A server that never answered may be one that hangs on the question: ask the old way next.
            self._catalog.remember_era(self.entry, "handshake")
            self._fail(self._not_started(f"it was not ready after {limit.seconds:g} s ({limit.source})"))
            return
        self._last_used = anyio.current_time()
        self.settled.set()
        logger.info("%s is ready: %d tools", self.entry.name, len(self.knowledge.tools if self.knowledge else ()))

    async def _introduce(self, session: ClientSession) -> None:
        info = session.server_info
        title = (info.title or info.name) if info else ""
        tools, error = await list_tools(self._list_page)
        before = self._catalog.recall(self.entry) if error and not tools else None
        tools = before.tools if before is not None else tools
        self._learn(Knowledge(tools, session.instructions or "", title, error))

    def _learn(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._catalog.remember(self.entry, knowledge)

    async def relist(self, *, again: bool = False) -> None:
        """Ask for the tools again, if there is a reason to: they changed, could not be listed, or `again`."""
        known = self.knowledge
        if known is None or not (self._tools_changed.is_set() or known.tools_error or again):
            return
        self._tools_changed = anyio.Event()
        with suppress(MCPError):
            tools, error = await list_tools(self._list_page)
            self._learn(replace(known, tools=tools or known.tools if error else tools, tools_error=error))

    async def _keep_fresh(self) -> None:
        """Learn changed tools anew, once for many notices that come together."""
        while True:
            await self._tools_changed.wait()
            await anyio.sleep(_SETTLING)
            await self.relist()

    async def _list_page(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return await self._send("tools/list", params, {})

    async def call(self, request: Request) -> dict[str, Any]:
        """Sends `tools/call`; the result exactly as the server sent it.

        Raises:
            ProtocolRefusal: The server answered with an error of the protocol.
            CallTimedOut: It did not answer in time; it was told to stop.
            ServerGone: The run ended first.
        """
        request_id = next(self._ids)
        opts: CallOptions = {"request_id": request_id, "cancel_on_abandon": False}
        if request.on_progress is not None:
            opts["on_progress"] = request.on_progress
        if self.entry.kind != "stdio":
            opts["headers"] = _call_headers(request)
        try:
            with anyio.move_on_after(self.limits.operation.seconds):
                return await self._send("tools/call", request.params, opts)
            self._tell_cancelled(request_id, "timed out")
        except anyio.get_cancelled_exc_class():
            self._tell_cancelled(request_id, "the client gave up")
            raise
        except MCPError as exc:
            if self._lost(request_id, exc):
                raise await self._gone(request_id) from exc
            raise self._refusal(request_id, exc) from exc
        finally:
            self._forget(request_id)
        raise CallTimedOut(self.entry.name, request.tool, self.limits.operation.source)

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

    def _refusal(self, request_id: int, exc: MCPError) -> GatewayError:
        """What the server answered, or what HTTP answered in its place."""
        status = self._link.statuses.get(request_id) if self._link is not None else None
        if status is not None:
            return HttpRefused(self.entry.name, status)
        return ProtocolRefusal(exc.code, exc.message, exc.data)

    def _tell_cancelled(self, request_id: int, reason: str) -> None:
        """Cancel in the server too, without waiting for a server that reads nothing."""
        dispatcher = self._dispatcher
        if self._tasks is not None and dispatcher is not None and self.usable and self._reached(request_id):
            params = {"requestId": request_id, "reason": reason}
            self._tasks.start_soon(dispatcher.notify, "notifications/cancelled", params)

    def _lost(self, request_id: int, exc: MCPError) -> bool:
        """Whether the run is over; a server may answer with the same code as a connection that is closed."""
        if self._link is not None and request_id in self._link.expired:
            return True
        if exc.code == CONNECTION_CLOSED and self.usable and not self._reached(request_id):
            self.stop("closed its input")
        return exc.code == CONNECTION_CLOSED and not self.usable

    def _reached(self, request_id: int) -> bool:
        """Whether the request may have reached the server."""
        if self._link is None or request_id in self._link.expired:
            return False
        return self._link.written is None or request_id in self._link.written

    async def _gone(self, request_id: int) -> ServerGone:
        reached = self._reached(request_id)
        with anyio.move_on_after(_LAST_WORDS_LIMIT):
            await self.ended.wait()
        reason = self.stop_reason or self._how_it_ended()
        return ServerGone(self.entry.name, reason, reached, reached, self._last_words(), self.entry.lacks)

    def _forget(self, request_id: int) -> None:
        if self._link is not None:
            self._link.statuses.pop(request_id, None)
            self._link.expired.discard(request_id)
            if self._link.written is not None:
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
        limit = forever_if_zero(self.limits.idle.seconds)
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
                    self._tools_changed.set()
        except (MCPError, SubscriptionLost, TimeoutError) as exc:
            logger.info("%s: no news of changed tools: %s", self.entry.name, exc)

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._tools_changed.set()

    async def _on_log(self, params: LoggingMessageNotificationParams) -> None:
        logger.info("%s says (%s): %.500s", self.entry.name, params.level, params.data)

    def _note_failure(self, exc: Exception) -> None:
        cause = _only(exc)
        if self._ready:
            logger.warning("%s: the run failed: %r", self.entry.name, cause)
        elif isinstance(cause, GatewayError):
            self._fail(cause)
        elif not (isinstance(cause, MCPError) and cause.code == CONNECTION_CLOSED):
            self._fail(self._not_started(self._explain(cause)))

    def _fail(self, failure: GatewayError) -> None:
        """Those who wait for the start need not wait for the clean-up."""
        self.failure = failure
        self.settled.set()

    def _explain(self, cause: BaseException) -> str:
        statuses = self._link.statuses if self._link is not None else {}
        if isinstance(cause, MCPError) and statuses:
            return f"{self.entry.url} {http_advice(list(statuses.values())[-1])}"
        if self.entry.kind != "stdio" and not isinstance(cause, MCPError | ValidationError):
            return f"{self.entry.url} cannot be reached ({cause or type(cause).__name__})"
        return _explain(cause)

    def _not_started(self, reason: str) -> StartFailed:
        return StartFailed(self.entry.name, reason, self._last_words(), self.entry.lacks)

    def _how_it_ended(self) -> str:
        return self._link.how_it_ended() if self._link is not None else "was not reached"

    def _last_words(self) -> str:
        return self._link.last_words() if self._link is not None else ""


def _call_headers(request: Request) -> dict[str, str]:
    """What a server over HTTP reads from headers; specification 2026-07-28, basic/transports."""
    arguments = cast("Mapping[str, Any]", request.params.get("arguments") or {})
    mapped = mcp_param_headers(x_mcp_header_map(request.schema), arguments)
    return {MCP_NAME_HEADER: encode_header_value(request.tool), **mapped}


async def _cancel_on(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


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
