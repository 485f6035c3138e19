"""All servers and their runs: what is started, joined, called again or stopped is decided here.

Decisions are plain functions between two awaits; the tasks that act on them are the runs themselves,
one task each, in the pool's group. A run belongs to the pool and not to the call that started it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import anyio
from anyio.abc import TaskGroup

from mcp_gateway import logs
from mcp_gateway.catalog import Catalog
from mcp_gateway.config import Registry, RegistryFile
from mcp_gateway.connection import Connection, Limits, Request
from mcp_gateway.errors import (
    GatewayError,
    ServerGone,
    ServerUnusable,
    StartFailed,
    StartPaused,
    StillStarting,
    ToolDenied,
    UnknownServer,
    UnknownTool,
)
from mcp_gateway.knowledge import Call, Knowledge, Tool
from mcp_gateway.policy import shown, verdict
from mcp_gateway.registry import Entry, time_limit
from mcp_gateway.results import chars, refused
from mcp_gateway.search import near_names
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings
from mcp_gateway.transport import Connector

logger = logging.getLogger(logs.LOGGER)

_FAILURES = 3
"""Failed starts in a row after which the next one waits."""
_PAUSE = 5.0
_LONGEST_PAUSE = 300.0
_NOTE_EVERY = 5.0
"""Seconds between two progress notes while a call waits for a start."""

Note = Callable[[str], Awaitable[None]]
"""Tells the client what a call is waiting for."""


Build = Callable[[Knowledge], Request]
"""Makes a request from what is known of its server."""


async def no_note(_: str) -> None:
    """Tells nobody."""


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

    @property
    def usable(self) -> list[Connection]:
        """Runs that calls may wait for or talk over."""
        return [run for run in self.runs if run.usable]

    def note_end(self, run: Connection, now: float) -> None:
        """Take in how a run ended; failed starts in a row make the next ones wait, longer each time."""
        self.runs.remove(run)
        if not isinstance(run.failure, StartFailed):
            self.failures = 0
        elif not run.stop_reason:
            self.failures += 1
            over = self.failures - _FAILURES
            pause = min(_PAUSE * 2**over, _LONGEST_PAUSE) if over >= 0 else 0.0
            self.retry_at = now + pause
            run.failure.retry_in = pause
            self.last = run.failure


class Pool:
    """The servers of a registry, each started when it is needed and not before."""

    def __init__(
        self,
        registry: RegistryFile,
        connector: Connector,
        settings: Settings,
        redact: Redactor,
        catalog: Catalog | None = None,
    ) -> None:
        """Start nothing; keep what is learnt in `catalog`, or in memory."""
        self._file = registry
        self._connector = connector
        self._settings = settings
        self._redact = redact
        self._registry: Registry | None = None
        self._members: dict[str, Member] = {}
        self._tasks: TaskGroup | None = None
        self._closing = False
        self.catalog = catalog or Catalog()

    def __repr__(self) -> str:
        return f"<Pool {list(self._members.values())}>"

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        try:
            if self._tasks is not None:  # an error of the body is the body's own, and not one of the group
                await self._tasks.__aexit__(None, None, None)
        finally:
            self._connector.close()
            self.catalog.close()

    def close(self) -> None:
        """Start nothing more and tell all runs to stop; leaving the pool waits for them."""
        self._closing = True
        for member in self._members.values():
            for run in member.runs:
                run.stop("was stopped with the gateway")

    @property
    def registry(self) -> Registry:
        """The registry as its files stand now; runs of entries that changed are told to stop."""
        registry = self._file.poll()
        if registry is not self._registry:
            self._registry = registry
            self._redact.learn(registry.secrets)
            self._apply(registry)
        return registry

    def _apply(self, registry: Registry) -> None:
        for problem in registry.problems:
            logger.warning(problem)
        for entry in registry.entries.values():
            if entry.unknown:
                logger.info("%s: keys that mean nothing here: %s", entry.name, ", ".join(entry.unknown))
        for name, member in self._members.items():
            entry = registry.entries.get(name)
            if entry is not None and entry.launch == member.entry.launch:
                self._adopt(member, entry)
            else:
                for run in member.runs:
                    run.stop("was stopped because its entry changed")
                self._members[name] = Member(entry or Entry(name, refused="its entry is gone"), member.runs)

    def _adopt(self, member: Member, entry: Entry) -> None:
        """The same server under other words or limits goes on running."""
        if entry != member.entry:
            member.entry = entry
            for run in member.runs:
                run.adopt(entry, self._limits(entry))

    def entry(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            UnknownServer: There is none.
        """
        entries = self.registry.entries
        if name not in entries:
            raise UnknownServer(name, near_names(name, entries))
        return entries[name]

    def state(self, name: str) -> str:
        """What a server is doing, see `Member.state`."""
        return self._members[name].state if name in self._members else ""

    def failure(self, name: str) -> str:
        """Why the server failed to start the last time, if it did."""
        member = self._members.get(name)
        return member.last.reason if member and member.failures and member.last else ""

    def restart(self, name: str) -> int:
        """Tell a server's runs to stop, and try it again at once if its starts failed; how many runs there were."""
        member = self._members.get(name)
        if member is None:
            return 0
        member.failures = 0
        for run in member.usable:
            run.stop("was restarted")
        return len(member.runs)

    async def knowledge(self, name: str, note: Note = no_note, *, fresh: bool = False) -> Knowledge:
        """What a server said of itself; it is started if it never said anything, and in any case with `fresh`.

        Raises:
            GatewayError: It is unknown, unusable, still starting or does not start.
        """
        entry = self.entry(name)
        _refuse_unusable(entry)
        known = self.catalog.recall(entry)
        running = next((run for run in self._member(entry).usable if run.settled.is_set()), None)
        if not fresh and running is None and known is not None and not known.tools_error:
            return shown(entry.tools, known)
        run = running or await self._acquire(entry, note)
        with run.used():
            if running is not None:
                await run.relist(again=fresh)
        return shown(entry.tools, run.knowledge or Knowledge())

    def search(self, query: str, entries: Iterable[Entry]) -> list[tuple[str, Tool]]:
        """Known tools of these entries that match, the best first, without those that are denied."""
        asked = {entry.name: entry for entry in entries}

        def allowed(name: str, tool: Tool) -> bool:
            return verdict(asked[name].tools, str(tool["name"])) != "deny"

        return self.catalog.search(query, asked.values(), allowed)

    def known(self, entry: Entry) -> Knowledge | None:
        """What is known of a server without asking it."""
        known = self.catalog.recall(entry)
        return shown(entry.tools, known) if known is not None else None

    async def call(self, name: str, tool: str, build: Build, note: Note = no_note) -> dict[str, Any]:
        """Calls a tool; the result exactly as the server sent it.

        `build` makes the request from what is known of the server, once it runs.

        Raises:
            GatewayError: See the tree in `errors`.
        """
        started, sent = anyio.current_time(), 0
        outcome, received = "cancelled", 0

        def built(knowledge: Knowledge) -> Request:
            nonlocal sent
            request = build(knowledge)
            sent = len(str(request.params.get("arguments", "")))
            return request

        try:
            result = await self._call_twice(name, tool, built, note)
            outcome, received = "error" if refused(result) else "ok", chars(result)
        except GatewayError as exc:
            outcome = type(exc).__name__
            raise
        finally:
            seconds = anyio.current_time() - started
            if name in self._members:
                self.catalog.record(Call(time.time(), name, tool, seconds, outcome, sent, received))
        return result

    async def _call_twice(self, name: str, tool: str, build: Build, note: Note) -> dict[str, Any]:
        """A call that cannot have acted is made once more."""
        try:
            return await self._call_once(name, tool, build, note)
        except ServerGone as exc:
            if exc.acted or self._closing:
                raise
            reached = exc.reached
        try:
            return await self._call_once(name, tool, build, note)
        except ServerGone as exc:
            exc.repeated = reached
            raise

    async def _call_once(self, name: str, tool: str, build: Build, note: Note) -> dict[str, Any]:
        entry = self.entry(name)
        _refuse_unusable(entry)
        _refuse_denied(entry, tool)
        run = await self._acquire(entry, note)
        with run.used():
            definition = await self._find_tool(run, tool)
            try:
                return await run.call(build(run.knowledge or Knowledge()))
            except ServerGone as exc:
                exc.acted = exc.acted and not _harmless(definition)
                raise

    async def _find_tool(self, run: Connection, name: str) -> Mapping[str, Any] | None:
        """The definition of a tool; the server is asked again before a name counts as unknown.

        Raises:
            UnknownTool: The server lists its tools, and this is none of them.
        """
        knowledge = run.knowledge or Knowledge()
        tool = knowledge.tool(name)
        if tool is None and not knowledge.tools_error:
            await run.relist(again=True)
            knowledge = run.knowledge or Knowledge()
            tool = knowledge.tool(name)
        if tool is None and knowledge.tools and not knowledge.tools_error:
            names = shown(run.entry.tools, knowledge).names
            raise UnknownTool(run.entry.name, name, near_names(name, names))
        return tool

    async def _acquire(self, entry: Entry, note: Note) -> Connection:
        """A run that is ready.

        Raises:
            StillStarting: It is not ready yet, and this call has waited long enough.
            StartFailed, StartPaused: It does not start.
        """
        limit = time_limit(entry, self._settings, "init_timeout")
        began = anyio.current_time()
        deadline = began + limit.seconds
        while True:
            run = self._pick(entry)
            joined = run.usable
            waited_for = run.settled if joined else run.ended
            with run.used():
                in_time = waited_for.is_set() or await _wait(waited_for, deadline, entry.name, note)
            if not in_time:
                since = run.started_at if run.usable else began
                raise StillStarting(entry.name, anyio.current_time() - since, limit.source)
            if run.usable and run.settled.is_set():
                self._member(entry).failures = 0
                return run
            if joined and run.failure is not None and not run.stop_reason and not self._member(entry).usable:
                raise run.failure
            entry = self.entry(entry.name)
            _refuse_unusable(entry)

    def _member(self, entry: Entry) -> Member:
        return self._members.setdefault(entry.name, Member(entry))

    def _pick(self, entry: Entry) -> Connection:
        """The least busy run, or a new one where load asks for it; never two of one instance at once."""
        member = self._member(entry)
        usable = member.usable
        best = min(usable, key=lambda run: (run.in_flight, not run.settled.is_set()), default=None)
        enough = len(member.runs) >= entry.instances or member.failures > 0
        if best is not None and (not best.in_flight or enough):
            return best
        if best is None and member.runs:
            return member.runs[-1]
        return self._start(member)

    def _start(self, member: Member) -> Connection:
        now = anyio.current_time()
        if self._closing or self._tasks is None:
            raise ServerUnusable(member.entry.name, "the gateway is ending")
        if member.last is not None and member.failures >= _FAILURES and now < member.retry_at:
            raise StartPaused(member.entry.name, member.failures, member.retry_at - now, member.last)
        run = Connection(member.entry, self._connector, self._limits(member.entry), self.catalog)
        member.runs.append(run)
        self._tasks.start_soon(self._own, run)
        return run

    def _limits(self, entry: Entry) -> Limits:
        return Limits(
            start=time_limit(entry, self._settings, "start_limit"),
            operation=time_limit(entry, self._settings, "operation_timeout"),
            idle=time_limit(entry, self._settings, "idle_timeout"),
        )

    async def _own(self, run: Connection) -> None:
        """The task of one run."""
        logger.info("%s is started", run.entry.name)
        try:
            await run.run()
        finally:
            self._note_end(run)

    def _note_end(self, run: Connection) -> None:
        self._members[run.entry.name].note_end(run, anyio.current_time())
        logger.info("%s has ended%s", run.entry.name, f": {run.failure}" if run.failure else "")


def _refuse_unusable(entry: Entry) -> None:
    if entry.obstacle:
        raise ServerUnusable(entry.name, entry.obstacle)


def _refuse_denied(entry: Entry, tool: str) -> None:
    said = verdict(entry.tools, tool)
    if said == "deny":
        raise ToolDenied(entry.name, tool, 'its entry denies it ("tools")')
    if said == "ask":
        raise ToolDenied(
            entry.name, tool, 'its entry wants the user to be asked ("tools": "ask"), which cannot be done yet'
        )


def _harmless(tool: Mapping[str, Any] | None) -> bool:
    """Whether the tool says of itself that it may be called twice."""
    annotations = (tool or {}).get("annotations")
    if not isinstance(annotations, dict):
        return False
    hints = cast("Mapping[str, object]", annotations)
    return hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True


async def _wait(event: anyio.Event, deadline: float, name: str, note: Note) -> bool:
    """Wait until the deadline, telling the client now and then what for."""
    since = anyio.current_time()
    while not event.is_set() and (now := anyio.current_time()) < deadline:
        with anyio.move_on_after(min(_NOTE_EVERY, deadline - now)):
            await event.wait()
            break
        await note(f"{name} is starting ({anyio.current_time() - since:.0f} s)")
    return event.is_set()
