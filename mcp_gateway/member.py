"""One server of the pool: its runs, and what their starts have come to."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from mcp_gateway.caller import Caller
from mcp_gateway.connection import Connection
from mcp_gateway.errors import StartFailed, StartPaused, TooBusy
from mcp_gateway.registry import Entry

_FAILURES = 3
"""Failed starts in a row after which the next one waits."""
_MOST_CALLS = 256
"""Calls under way of one instance; hosts and models make a few at once, and a queue only grows."""
_NOTE_EVERY = 5.0
"""Seconds between two progress notes while a call waits for a start."""
_PAUSE = 5.0
_LONGEST_PAUSE = 300.0


@dataclass
class Member:
    """One server of the pool.

    Attributes:
        runs: Its runs that have not ended, oldest first; at most `entry.instances` of them usable.
        failures: Starts that failed in a row.
        retry_at: When the next start is due, on the clock of the event loop.
        last: The last failed start.
    """

    entry: Entry
    runs: list[Connection] = field(default_factory=list[Connection])
    failures: int = 0
    retry_at: float = 0.0
    last: StartFailed | None = None

    def __repr__(self) -> str:
        return f"<Member {self.entry.name} {self.state}>"

    @property
    def state(self) -> str:
        """running, starting, stopping, paused, failed, or empty where nothing is worth saying."""
        states = {run.state for run in self.runs}
        for state in ("running", "starting", "stopping"):
            if state in states:
                return state
        if self.failures >= _FAILURES:
            return "paused"
        return "failed" if self.failures else ""

    def check_room(self) -> None:
        """Refuse a call that would only wait.

        Raises:
            TooBusy: As many calls as the server may have are under way.
        """
        calls = sum(run.in_flight for run in self.runs)
        if calls >= _MOST_CALLS * self.entry.instances:
            raise TooBusy(self.entry.name, calls)

    def check_pause(self, now: float) -> None:
        """Refuse a start that is not due.

        Raises:
            StartPaused: Too many starts failed in a row.
        """
        if self.last is not None and self.failures >= _FAILURES and now < self.retry_at:
            raise StartPaused(self.entry.name, self.failures, self.retry_at - now, self.last)

    @property
    def usable(self) -> list[Connection]:
        """Runs that calls may wait for or talk over."""
        return [run for run in self.runs if run.usable]

    def note_end(self, run: Connection, now: float) -> None:
        """Take in how a run ended; failed starts in a row make the next ones wait, longer each time."""
        self.runs.remove(run)
        if not isinstance(run.failure, StartFailed):
            self.failures = 0
        elif not (run.stop_reason or run.failure.shortcut):
            self.failures += 1
            over = self.failures - _FAILURES
            pause = min(_PAUSE * 2**over, _LONGEST_PAUSE) if over >= 0 else 0.0
            self.retry_at = now + pause
            run.failure.retry_in = pause
            self.last = run.failure


async def wait_for(event: anyio.Event, deadline: float, name: str, caller: Caller) -> bool:
    """Wait until the deadline, telling the client now and then what for."""
    since = anyio.current_time()
    while not event.is_set() and (now := anyio.current_time()) < deadline:
        with anyio.move_on_after(min(_NOTE_EVERY, deadline - now)):
            await event.wait()
            break
        await caller.note(f"{name} is starting ({anyio.current_time() - since:.0f} s)")
    return event.is_set()
