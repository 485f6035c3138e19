"""What one run's server says and asks by itself, and whom it reaches.

A question goes to the newest of the client's requests that are under way, and outside of any to the client
itself, where it can be reached. What the client cannot do is refused at once, with the reason. While a person
is asked, the clocks of the calls stand still.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp_types import INVALID_REQUEST, METHOD_NOT_FOUND, REQUEST_TIMEOUT

from mcp_gateway import logs, questions
from mcp_gateway.caller import Ask, Caller, CallerGone, Client, Json, Progress, wants
from mcp_gateway.registry import TimeLimit
from mcp_gateway.request import Clock

logger = logging.getLogger(logs.LOGGER)

_MOST_OPEN = 500
"""Notices on their way to a client; a server that floods one that reads slowly must not fill the memory."""
_DELIVERY_LIMIT = 1.0
"""Seconds that a client may take to read what was said before an answer."""


@dataclass
class Conversation:
    """The client's side of one run.

    Attributes:
        server: The server's name.
        client: The client that the run works for.
        limit: How long a question may wait for its answer.
        on_update: Told of the URI of a resource that has changed.
    """

    server: str
    client: Client
    limit: TimeLimit
    on_update: Callable[[str], None]
    _callers: list[Caller] = field(default_factory=list[Caller])
    _clocks: list[Clock] = field(default_factory=list[Clock])
    _open: set[object] = field(default_factory=set[object])
    _closed: anyio.Event = field(default_factory=anyio.Event)

    @contextmanager
    def serving(self, caller: Caller | None) -> Generator[None]:
        """For as long as the block lasts, the run works for this request."""
        served = [caller] if caller is not None else []
        self._callers.extend(served)
        try:
            yield
        finally:
            for one in served:
                self._callers.remove(one)

    @contextmanager
    def timed(self, seconds: float) -> Generator[None]:
        """Leaves the block after so many seconds, not counting those in which the client is asked."""
        clock = Clock(seconds)
        self._clocks.append(clock)
        try:
            with clock.running():
                yield
        finally:
            self._clocks.remove(clock)

    @contextmanager
    def _delivering(self) -> Generator[None]:
        """Something that the server said before its answer is on its way to the client."""
        notice = object()
        self._open.add(notice)
        try:
            yield
        finally:
            self._open.remove(notice)
            closed, self._closed = self._closed, anyio.Event()
            closed.set()

    async def delivered(self) -> None:
        """Wait for what was said before an answer: the client listens only until it has that."""
        before = set(self._open)
        with anyio.move_on_after(_DELIVERY_LIMIT):
            while before & self._open:
                await self._closed.wait()

    def progress_of(self, caller: Caller) -> Progress | None:
        """What receives the progress of a call for its caller."""
        tell = caller.progress
        if tell is None:
            return None

        async def deliver(progress: float, total: float | None = None, message: str | None = None) -> None:
            if len(self._open) < _MOST_OPEN:
                with self._delivering():
                    await tell(progress, total, message)

        return deliver

    async def asked(self, method: str, params: Json) -> dict[str, Any]:
        """What the client answers to a question of a server of the handshake era.

        Raises:
            MCPError: It cannot be asked, with the reason, or refused.
        """
        limit = questions.limit(method, self.limit.seconds)
        with ExitStack() as standing:
            for clock in self._clocks:
                standing.enter_context(clock.paused())
            with anyio.move_on_after(limit):
                return await self._put(method, params)
        raise MCPError(REQUEST_TIMEOUT, f"the client did not answer within {limit:g} s ({self.limit.source})")

    async def _put(self, method: str, params: Json) -> dict[str, Any]:
        """Asks by one request after the other, where those are over before there is an answer."""
        tried: list[Ask] = []
        while True:
            tried.append(self._who_answers(method, params, tried))
            with suppress(NoBackChannelError, CallerGone):
                return await tried[-1](method, params)

    def _who_answers(self, method: str, params: Json, tried: Sequence[Ask]) -> Ask:
        if len({caller.client.key for caller in self._callers}) > 1:
            raise MCPError(INVALID_REQUEST, "several clients are served at once, and nobody knows whom this is for")
        able = (caller for caller in reversed(self._callers) if caller.ask is not None and caller.ask not in tried)
        asked = next(able, None)
        client = asked.client if asked is not None else self.client
        why = questions.obstacle(method, params, client.capabilities)
        if why:
            raise MCPError(METHOD_NOT_FOUND, why)
        ask = asked.ask if asked is not None else client.ask
        if ask is None or ask in tried:
            raise MCPError(INVALID_REQUEST, "no call of the client is under way in which it could be asked")
        return ask

    async def heard(self, method: str, params: Json) -> None:
        """A notification of the server; one that comes faster than the client reads is left out."""
        if len(self._open) < _MOST_OPEN:
            with self._delivering():
                await self._hear(method, params)

    async def _hear(self, method: str, params: Json) -> None:
        if method == "notifications/resources/updated":
            self.on_update(str(params.get("uri")))
        elif method == "notifications/elicitation/complete" and self.client.tell is not None:
            await self.client.tell(method, params)
        elif method == "notifications/message":
            await self._log(params)

    async def _log(self, params: Json) -> None:
        """A log message: to the log, and to the clients that asked for it."""
        level, said_by = str(params.get("level")), params.get("logger")
        logger.info("%s says (%s): %.500s", self.server, level, params.get("data"))
        told = {**params, "logger": f"{self.server}/{said_by}" if said_by else self.server}
        listeners = {caller.client.key: caller for caller in self._callers}
        for caller in listeners.values() or [Caller(self.client, tell=self.client.tell)]:
            if caller.tell is not None and wants(level, caller.log_level or caller.client.log_level):
                await caller.tell("notifications/message", told)
