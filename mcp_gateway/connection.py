"""One run of a server, from spawn to exit, owned by one task.

Whoever needs the server waits for `settled`, then talks over the session; only the owner opens and
closes it. A run ends by itself (the server died, or was idle) or because it is told to stop; what
waits for an answer is woken in either case. It is never started twice: the next run is a new object.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.client import ClientSession
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import CONNECTION_CLOSED, METHOD_NOT_FOUND
from pydantic import ValidationError

from mcp_gateway import logs, pulse
from mcp_gateway.caller import Caller, Client, Json
from mcp_gateway.catalog import Catalog
from mcp_gateway.causes import closed, explained, only
from mcp_gateway.conversation import Conversation
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
from mcp_gateway.learner import Learner, OnChange, following
from mcp_gateway.link import Link
from mcp_gateway.negotiation import negotiate
from mcp_gateway.peer import Peer
from mcp_gateway.pulse import Pulse
from mcp_gateway.registry import Entry, Limits
from mcp_gateway.request import CLIENT_INFO, Request, envelope
from mcp_gateway.settings import forever_if_zero
from mcp_gateway.transport import Connect

logger = logging.getLogger(logs.LOGGER)

_LONGEST_SLEEP = 86_400.0
_LEARNING_LIMIT = 30.0
_LAST_WORDS_LIMIT = 1.0
"""How long a caller waits for the owner to learn why a server died."""


def _nothing(_: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Surroundings:
    """What a run is given by those who start it.

    Attributes:
        connect: Opens the way to the server.
        catalog: Keeps what is learnt.
        client: The client that the run works for.
        on_change: Told of a feature whose lists are others than before.
        on_update: Told of the URI of a resource that has changed.
    """

    connect: Connect
    catalog: Catalog
    client: Client = field(default_factory=Client)
    on_change: OnChange = _nothing
    on_update: Callable[[str], None] = _nothing


class Connection:
    """One run of one server."""

    def __init__(self, entry: Entry, limits: Limits, given: Surroundings) -> None:
        """Prepare a run; nothing starts before `run`."""
        self.entry = entry
        self.limits = limits
        self.client = given.client
        self.settled = anyio.Event()
        self.ended = anyio.Event()
        self.failure: GatewayError | None = None
        self.started_at = anyio.current_time()
        self.era: Era | None = given.catalog.era(entry)
        self.in_flight = 0
        self.stop_reason = ""
        self.learner = Learner(entry, given.catalog, self._ask, given.on_change)
        self._ready = False
        self._given = given
        self._stop = anyio.Event()
        self._quiet = anyio.Event()
        self.last_used = self.started_at
        self._talk = Conversation(entry.name, given.client, limits.question, given.on_update)
        self._link: Link | None = None
        self._dispatcher: JSONRPCDispatcher[Any] | None = None
        self._session: ClientSession | None = None
        self._tasks: TaskGroup | None = None
        self._ids = itertools.count(1_000_000)
        self._pulse = Pulse(self._ping, self.stop)

    def __repr__(self) -> str:
        return f"<Connection {self.entry.name} {self.state}>"

    @property
    def knowledge(self) -> Knowledge:
        """What the server has said of itself so far."""
        return self.learner.knowledge or Knowledge()

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

    @property
    def gave_up(self) -> GatewayError | None:
        """Why it did not start, where another start would come to the same."""
        short = isinstance(self.failure, StartFailed) and self.failure.shortcut
        return None if self.stop_reason or short else self.failure

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
            async with self._given.connect(self.entry) as link:
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
            peer = Peer(dispatcher, self.client.capabilities, self._asked, self._heard)
            async with ClientSession(dispatcher=peer, client_info=CLIENT_INFO) as session:
                self._dispatcher, self._session = dispatcher, session
                try:
                    await self._start_unless_refused(session, link)
                    if self.failure is None:
                        self._look_after(session, tasks)
                        await self._until_idle()
                finally:
                    link.ended.set()  # before the session ends and wakes those who wait for answers
            tasks.cancel_scope.cancel()

    def _look_after(self, session: ClientSession, tasks: TaskGroup) -> None:
        """What goes on beside the calls."""
        tasks.start_soon(self.learner.keep_fresh)
        if self.era == "modern":
            tasks.start_soon(self.learner.listen, session)
        elif self.client.log_level:
            tasks.start_soon(self.set_log_level, self.client.log_level)

    async def _start_unless_refused(self, session: ClientSession, link: Link) -> None:
        try:
            await self._start(session)
        except MCPError as exc:
            if link.ended.is_set():
                raise
            self._fail(self._not_started(self._explain(exc)))

    async def _start(self, session: ClientSession) -> None:
        limit = self.limits.start
        with anyio.move_on_after(limit.seconds) as scope:
            self.era = await negotiate(session, self.era)
            self._given.catalog.remember_era(self.entry, self.era)
            await self.learner.introduce(session)
            self._ready = True
            if self._link is not None:
                self._link.ready.set()
        if scope.cancelled_caught:
            # A server that never answered may be one that hangs on the question: ask the old way next.
            self._given.catalog.remember_era(self.entry, "handshake")
            self._fail(self._not_started(f"it was not ready after {limit.seconds:g} s ({limit.source})"))
            return
        self.last_used = anyio.current_time()
        self.settled.set()
        logger.info("%s is ready: %d tools", self.entry.name, len(self.knowledge.tools))

    async def learnt(self) -> None:
        """Wait until all lists of the server have been asked for."""
        with anyio.move_on_after(_LEARNING_LIMIT):
            await self.learner.whole.wait()

    async def _ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a request of the gateway's own, which no caller waits for.

        Raises:
            MCPError: The server answered with it.
            anyio.ClosedResourceError: The connection is closed.
        """
        request_id = next(self._ids)
        try:
            return await self._send(Request(method, params, Caller(self.client)), {"request_id": request_id})
        except MCPError as exc:
            if self._link is not None and request_id in self._link.statuses:
                raise MCPError(exc.code, http_advice(self._link.statuses[request_id], self.entry.login)) from exc
            if exc.code == CONNECTION_CLOSED and self._link is not None and self._link.ended.is_set():
                raise anyio.ClosedResourceError from exc  # servers use that code too
            raise
        finally:
            self._forget(request_id)

    async def call(self, request: Request) -> dict[str, Any]:
        """Sends a request; the result exactly as the server sent it.

        Raises:
            ProtocolRefusal: The server answered with an error of the protocol.
            CallTimedOut: It did not answer in time; it was told to stop.
            ServerGone: The run ended first.
        """
        request_id, since = next(self._ids), anyio.current_time()
        opts: CallOptions = {"request_id": request_id, "cancel_on_abandon": False}
        progress = self._talk.progress_of(request.caller)
        if progress is not None:
            opts["on_progress"] = progress
        try:
            with self._talk.timed(self.limits.operation.seconds), self._pulse.expected(request_id):
                result = await self._send(request, opts)
                self._pulse.sign()
                await self._talk.delivered()
                return result
            self._tell_cancelled(request_id, "timed out")
        except anyio.get_cancelled_exc_class():
            self._tell_cancelled(request_id, "the client gave up")
            if self._tasks is not None:
                self._tasks.start_soon(self._pulse.look_later, since)
            raise
        except MCPError as exc:
            if exc.code == CONNECTION_CLOSED and self._link is not None and request_id in self._link.dropped:
                raise ServerGone(self.entry.name, "broke off its answer", lacks=self.entry.lacks) from exc
            if self._lost(request_id, exc):
                raise await self._gone(request_id) from exc
            raise self._refusal(request_id, exc) from exc
        finally:
            self._forget(request_id)
        state = await self._pulse.look(pulse.AFTER_TIMEOUT, since)
        raise CallTimedOut(self.entry.name, request.what, self.limits.operation.source, state)

    async def _ping(self) -> None:
        """Ask what every server can answer."""
        await self._ask("ping" if self.era == "handshake" else "server/discover", {})

    async def _send(self, request: Request, opts: CallOptions) -> dict[str, Any]:
        """Sends a request past the SDK's typed layer, so that the answer is neither parsed twice nor refused."""
        session, dispatcher = self._session, self._dispatcher
        if session is None or dispatcher is None:
            raise MCPError(CONNECTION_CLOSED, "not connected")
        version = session.protocol_version or ""
        if self.entry.kind != "stdio":
            headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: request.method}
            opts["headers"] = {**headers, **request.headers()}
        params = request.params
        if self.era == "modern":
            params = {**params, "_meta": {**params.get("_meta", {}), **envelope(request.caller, version)}}
        return await dispatcher.send_raw_request(request.method, params, opts)

    async def set_log_level(self, level: str) -> None:
        """Ask a server of the handshake era for log messages from that level on."""
        if self.era == "handshake" and self.knowledge.offers("logging"):
            await self._quietly(Request("logging/setLevel", {"level": level}))

    async def tell(self, method: str) -> None:
        """Sends a notification without parameters to a server of the handshake era."""
        if self._dispatcher is not None and self.era == "handshake":
            await self._dispatcher.notify(method, None)

    @asynccontextmanager
    async def subscribed(self, uri: str) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        """For as long as the block lasts, the server tells of changes of a resource; yields what waits for the end.

        Raises:
            GatewayError: The server refuses.
        """
        if self.era == "modern" and self._session is not None:
            async with following(self._session, self.limits.operation.seconds, resource_subscriptions=[uri]) as lasts:
                yield lasts
            return
        await self.call(Request("resources/subscribe", {"uri": uri}))
        try:
            yield self.ended.wait
        finally:
            with anyio.move_on_after(_LAST_WORDS_LIMIT, shield=True):
                if self.usable:
                    await self._quietly(Request("resources/unsubscribe", {"uri": uri}))

    async def _quietly(self, request: Request) -> None:
        """Sends a request that nobody waits for."""
        try:
            await self.call(request)
        except GatewayError as exc:
            logger.info("%s: %s: %s", self.entry.name, request.method, exc)

    async def _asked(self, method: str, params: Json) -> dict[str, Any]:
        """A question of the server; a modern one may not ask this way."""
        if self._session is None or self._session.initialize_result is None:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", method)
        return await self._talk.asked(method, params)

    async def _heard(self, method: str, params: Json) -> None:
        """A notification of the server."""
        self._pulse.sign()
        self.learner.note(method)
        await self._talk.heard(method, params)

    def _refusal(self, request_id: int, exc: MCPError) -> GatewayError:
        """What the server answered, or what HTTP answered in its place."""
        status = self._link.statuses.get(request_id) if self._link is not None else None
        if status is not None:
            return HttpRefused(self.entry.name, status, self.entry.login)
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
            self._link.dropped.discard(request_id)
            if self._link.written is not None:
                self._link.written.discard(request_id)

    @contextmanager
    def used(self, caller: Caller | None = None) -> Generator[None]:
        """Counts as load, keeps the run from being idle, and can be asked, for as long as the block lasts."""
        self.in_flight += 1
        try:
            with self._talk.serving(caller):
                yield
        finally:
            self.in_flight -= 1
            self.last_used = anyio.current_time()
            if not self.in_flight:
                self._quiet.set()

    async def _until_idle(self) -> None:
        """Returns when the server has not been used for its idle time."""
        limit = forever_if_zero(self.limits.idle.seconds)
        while True:
            if self.in_flight:
                self._quiet = anyio.Event()
                await self._quiet.wait()
            left = self.last_used + limit - anyio.current_time()
            if left <= 0:
                break
            await anyio.sleep(min(left, _LONGEST_SLEEP))
        self.stop(f"was stopped after {limit:g} s without a call")
        logger.info("%s %s", self.entry.name, self.stop_reason)

    def _note_failure(self, exc: Exception) -> None:
        cause = only(exc)
        if self._ready:
            logger.warning("%s: the run failed: %r", self.entry.name, cause)
        elif isinstance(cause, GatewayError):
            self._fail(cause)
        elif not closed(cause):
            self._fail(self._not_started(self._explain(cause)))

    def _fail(self, failure: GatewayError) -> None:
        """Those who wait for the start need not wait for the clean-up."""
        self.failure = failure
        self.settled.set()

    def _explain(self, cause: BaseException) -> str:
        statuses = self._link.statuses if self._link is not None else {}
        if isinstance(cause, MCPError) and statuses:
            return f"{self.entry.url} {http_advice(list(statuses.values())[-1], self.entry.login)}"
        if self.entry.kind != "stdio" and not isinstance(cause, MCPError | ValidationError):
            return f"{self.entry.url} cannot be reached ({cause or type(cause).__name__})"
        return explained(cause)

    def _not_started(self, reason: str) -> StartFailed:
        short = self._link is not None and self._link.shortcut and not self.stop_reason
        return StartFailed(self.entry.name, reason, self._last_words(), self.entry.lacks, shortcut=short)

    def _how_it_ended(self) -> str:
        return self._link.how_it_ended() if self._link is not None else "was not reached"

    def _last_words(self) -> str:
        return self._link.last_words() if self._link is not None else ""


async def _cancel_on(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
