"""Whether a server that owes an answer still answers anything: one that hangs would let each later call run out too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress

import anyio
from mcp.shared.exceptions import MCPError

AFTER_TIMEOUT = 5.0
"""Seconds for a sign of life when a call has run out of its time."""
AFTER_CANCEL = 30.0
"""The same when a client has given a call up; the server may be busy with it, and take up the next one then."""

HANGS = "was stopped, for it answered nothing any more"


class Pulse:
    """The calls that one run has under way, and what is done when one is not answered."""

    def __init__(self, ask: Callable[[], Awaitable[object]], stop: Callable[[str], None]) -> None:
        """`ask` puts a question that every server can answer; `stop` ends the run, with the reason."""
        self._ask = ask
        self._stop = stop
        self._under_way: set[int] = set()
        self._checking = False

    @contextmanager
    def expected(self, request_id: int) -> Generator[None]:
        """For as long as the block lasts, an answer is waited for."""
        self._under_way.add(request_id)
        try:
            yield
        finally:
            self._under_way.discard(request_id)

    async def beats(self, seconds: float) -> bool:
        """Whether the server gives a sign of life; one that gives none is stopped, unless it may be busy with others.

        An error is a sign of life as well.
        """
        before = set(self._under_way)
        with anyio.move_on_after(seconds):
            with suppress(MCPError):
                await self._ask()
            return True
        if before & self._under_way:
            return True
        self._stop(HANGS)
        return False

    async def check_later(self) -> None:
        """The same for a call that was given up; one check at a time is enough."""
        if self._checking:
            return
        self._checking = True
        try:
            await self.beats(AFTER_CANCEL)
        finally:
            self._checking = False
