"""Whether a server that owes an answer still answers anything: one that hangs would let each later call run out too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Literal

import anyio
from mcp.shared.exceptions import MCPError

AFTER_TIMEOUT = 5.0
"""Seconds for a sign of life when a call has run out of its time."""
AFTER_CANCEL = 30.0
"""The same when a client has given a call up; the server may be busy with it, and take up the next one then."""

State = Literal["lives", "busy", "hangs"]

HANGS = "was stopped, for it answered nothing any more"


class Pulse:
    """The calls that one run has under way, and what is done when one is not answered."""

    def __init__(self, ask: Callable[[], Awaitable[object]], stop: Callable[[str], None]) -> None:
        """`ask` puts a question that every server can answer; `stop` ends the run, with the reason.

        `ask` raises `ClosedResourceError` where the run is over.
        """
        self._ask = ask
        self._stop = stop
        self._under_way: set[int] = set()
        self._looking = False
        self._last_sign = anyio.current_time()

    @contextmanager
    def expected(self, request_id: int) -> Generator[None]:
        """For as long as the block lasts, an answer is waited for."""
        self._under_way.add(request_id)
        try:
            yield
        finally:
            self._under_way.discard(request_id)

    def sign(self) -> None:
        """The server has said something."""
        self._last_sign = anyio.current_time()

    async def look(self, seconds: float, since: float) -> State:
        """Whether the server gives a sign of life; an error is one as well.

        One that gives none is stopped, unless it may be busy with another call: if it has one, and has said anything
        since the one began that it owes.
        """
        before = set(self._under_way)
        with anyio.move_on_after(seconds):
            try:
                with suppress(MCPError):
                    await self._ask()
            except anyio.ClosedResourceError:
                return "hangs"  # another look has ended it
            self.sign()
            return "lives"
        if before & self._under_way and self._last_sign >= since:
            return "busy"
        self._stop(HANGS)
        return "hangs"

    async def look_later(self, since: float) -> None:
        """The same for a call that was given up; one look at a time is enough."""
        if self._looking:
            return
        self._looking = True
        try:
            await self.look(AFTER_CANCEL, since)
        finally:
            self._looking = False
