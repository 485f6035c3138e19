"""All servers and their runs: what is started, joined, called again or stopped is decided here.

Decisions are plain functions between two awaits; the tasks that act on them are the runs themselves,
one task each, in the pool's group. A run belongs to the pool and not to the call that started it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from mcp_gateway import logs, secrets
from mcp_gateway.caller import Caller, Client
from mcp_gateway.catalog import Catalog
from mcp_gateway.config import Registry, RegistryFile
from mcp_gateway.connection import Connection, Surroundings
from mcp_gateway.errors import (
    GatewayError,
    ServerGone,
    ServerUnusable,
    StillStarting,
    UnknownServer,
    UnknownTool,
)
from mcp_gateway.knowledge import Call, Knowledge, Tool
from mcp_gateway.learner import OnChange
from mcp_gateway.member import Member, wait_for
from mcp_gateway.permissions import Permissions
from mcp_gateway.policy import repeatable
from mcp_gateway.registry import Entry, limits_of, time_limit
from mcp_gateway.request import Request
from mcp_gateway.results import chars, refused
from mcp_gateway.search import near_names
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings
from mcp_gateway.transport import Connector

logger = logging.getLogger(logs.LOGGER)


_MOST_OWN = 200
"""Runs that belong to one client each."""

Key = tuple[str, str]
"""A server's name, and the client that its runs belong to; empty where they are for all."""

Build = Callable[[Knowledge], Request]
"""Makes a request from what is known of its server."""


OnUpdate = Callable[[Client, str], None]


def _nothing(_: str) -> None:
    """Tells nobody."""


def _nobody(_: Client, __: str) -> None:
    """Tells nobody."""


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
        self._members: dict[Key, Member] = {}
        self.on_change: OnChange = _nothing
        """Told of a feature (`prompts`, `resources`) whose lists have changed."""
        self.on_update: OnUpdate = _nobody
        """Told of a resource that has changed: the client that the run belongs to, and the URI."""
        self._tasks: TaskGroup | None = None
        self._closing = False
        self.catalog = catalog or Catalog()
        self._permissions = Permissions(settings, self.catalog)

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
            if any(secrets.of_words(entry.args)):
                logger.warning("%s: a secret is among its args, where other users can see it; use env", entry.name)
        for (name, client), member in self._members.items():
            entry = registry.entries.get(name)
            if entry is not None and entry.launch == member.entry.launch:
                self._adopt(member, entry)
            else:
                for run in member.runs:
                    run.stop("was stopped because its entry changed")
                new = entry or Entry(name, refused="its entry is gone")
                self._members[name, client] = Member(new, member.runs)

    def _adopt(self, member: Member, entry: Entry) -> None:
        """The same server under other words or limits goes on running."""
        if entry != member.entry:
            member.entry = entry
            for run in member.runs:
                run.adopt(entry, limits_of(entry, self._settings))

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
        states = [member.state for member in self._of(name)]
        return max(states, key=lambda state: (state == "running", bool(state)), default="")

    def failure(self, name: str) -> str:
        """Why the server failed to start the last time, if it did."""
        return next((member.last.reason for member in self._of(name) if member.failures and member.last), "")

    def _of(self, name: str) -> list[Member]:
        return [member for (server, _), member in self._members.items() if server == name]

    def runs_of(self, client: Client) -> list[Connection]:
        """The usable runs that belong to a client, or to all."""
        return [run for (_, key), member in self._members.items() if key in {"", client.key} for run in member.usable]

    def set_log_level(self, client: Client) -> None:
        """Have the running servers of a client say what it has asked for, without waiting for them."""
        if self._tasks is not None:
            for run in self.runs_of(client):
                self._tasks.start_soon(run.set_log_level, client.log_level)

    def tell(self, client: Client, method: str) -> None:
        """Have the running servers of a client hear a notification, without waiting for them."""
        if self._tasks is not None:
            for run in self.runs_of(client):
                self._tasks.start_soon(run.tell, method)

    def restart(self, name: str, client: Client | None = None) -> int:
        """Tell a client's runs of a server to stop, and try it again at once if its starts failed; how many there were.

        Without a client, the runs of all.
        """
        count = 0
        for (server, key), member in self._members.items():
            if server == name and (client is None or key in {"", client.key}):
                member.failures = 0
                count += len(member.runs)
                for run in member.usable:
                    run.stop("was restarted")
        return count

    def leave(self, client: Client) -> None:
        """A client is gone: what runs for it alone has no use any more."""
        for key, member in list(self._members.items()):
            if key[1] and key[1] == client.key:
                for run in member.runs:
                    run.stop("was stopped because its client has left")
                if not member.runs:
                    del self._members[key]

    async def knowledge(self, name: str, caller: Caller, *, fresh: bool = False) -> Knowledge:
        """What a server said of itself; it is started if it never said anything, and in any case with `fresh`.

        Raises:
            GatewayError: It is unknown, unusable, still starting or does not start.
        """
        entry = self.entry(name)
        _refuse_unusable(entry)
        known = self.catalog.recall(entry)
        member = self._members.get(self._key(entry, caller))
        running = next((run for run in (member.usable if member else ()) if run.settled.is_set()), None)
        if not fresh and running is None and known is not None and not known.tools_error:
            return self._permissions.shown(entry, known)
        run = running or await self._acquire(entry, caller)
        with run.used(caller):
            if running is not None:
                await run.learner.relist_tools(again=fresh)
            if fresh:
                await run.learnt()
        return self._permissions.shown(entry, run.knowledge)

    def search(self, query: str, entries: Iterable[Entry]) -> list[tuple[str, Tool]]:
        """Known tools of these entries that match, the best first, as they may be shown."""
        return self._permissions.search(query, entries)

    def known(self, entry: Entry) -> Knowledge | None:
        """What is known of a server without asking it."""
        known = self.catalog.recall(entry)
        return self._permissions.shown(entry, known) if known is not None else None

    async def call(self, name: str, tool: str, build: Build, caller: Caller) -> dict[str, Any]:
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
            result = await self.send(name, built, caller, tool)
            outcome, received = "error" if refused(result) else "ok", chars(result)
        except GatewayError as exc:
            outcome = type(exc).__name__
            raise
        finally:
            seconds = anyio.current_time() - started
            if self._of(name):
                self.catalog.record(Call(time.time(), name, tool, seconds, outcome, sent, received))
        return result

    async def send(self, name: str, build: Build, caller: Caller, tool: str = "") -> dict[str, Any]:
        """Sends a request to a server, and once more where it cannot have acted; the result as it was sent.

        `tool` is the tool that it calls, if it calls one.

        Raises:
            GatewayError: See the tree in `errors`.
        """
        try:
            return await self._send_once(name, build, caller, tool)
        except ServerGone as exc:
            if exc.acted or self._closing:
                raise
            reached = exc.reached
        try:
            return await self._send_once(name, build, caller, tool)
        except ServerGone as exc:
            exc.repeated = reached
            raise

    async def _send_once(self, name: str, build: Build, caller: Caller, tool: str) -> dict[str, Any]:
        entry = self.entry(name)
        _refuse_unusable(entry)
        if tool:
            self._permissions.check_name(entry, tool)
        self._member(entry, caller).check_room()
        run = await self._acquire(entry, caller)
        with run.used(caller):
            definition = await self._find_tool(run, tool) if tool else None
            request = build(self._permissions.trusted(entry, run.knowledge) if tool else run.knowledge)
            if tool:
                await self._permissions.permit(entry, definition or {"name": tool}, request)
            try:
                return await run.call(request)
            except ServerGone as exc:
                exc.acted = exc.acted and not (request.harmless or repeatable(definition))
                raise

    async def hold(self, name: str, caller: Caller) -> Connection:
        """A run of the server that is ready, for who looks after it himself.

        Raises:
            GatewayError: See the tree in `errors`.
        """
        entry = self.entry(name)
        _refuse_unusable(entry)
        return await self._acquire(entry, caller)

    async def _find_tool(self, run: Connection, name: str) -> Mapping[str, Any] | None:
        """The definition of a tool as it may be shown; the server is asked again before a name counts as unknown.

        Raises:
            UnknownTool: The server lists its tools, and this is none of them.
        """
        knowledge = self._permissions.trusted(run.entry, run.knowledge)
        tool = knowledge.tool(name)
        if tool is None and not knowledge.tools_error:
            await run.learner.relist_tools(again=True)
            knowledge = self._permissions.trusted(run.entry, run.knowledge)
            tool = knowledge.tool(name)
        if tool is None and knowledge.tools and not knowledge.tools_error:
            names = self._permissions.shown(run.entry, knowledge).names
            raise UnknownTool(run.entry.name, name, near_names(name, names))
        return tool

    async def _acquire(self, entry: Entry, caller: Caller) -> Connection:
        """A run that is ready.

        Raises:
            StillStarting: It is not ready yet, and this call has waited long enough.
            StartFailed, StartPaused: It does not start.
        """
        limit = time_limit(entry, self._settings, "init_timeout")
        began = anyio.current_time()
        deadline = began + limit.seconds
        while True:
            run = self._pick(entry, caller)
            joined = run.usable
            waited_for = run.settled if joined else run.ended
            with run.used(caller):
                in_time = waited_for.is_set() or await wait_for(waited_for, deadline, entry.name, caller)
            if not in_time:
                since = run.started_at if run.usable else began
                raise StillStarting(entry.name, anyio.current_time() - since, limit.source)
            if run.usable and run.settled.is_set():
                self._member(entry, caller).failures = 0
                return run
            if joined and run.gave_up and not self._member(entry, caller).usable:
                raise run.gave_up
            entry = self.entry(entry.name)
            _refuse_unusable(entry)

    def _member(self, entry: Entry, caller: Caller) -> Member:
        """The runs of a server that may serve this caller: those of its client, unless they are for all."""
        return self._members.setdefault(self._key(entry, caller), Member(entry))

    @staticmethod
    def _key(entry: Entry, caller: Caller) -> Key:
        return entry.name, "" if entry.shared else caller.client.key

    def _pick(self, entry: Entry, caller: Caller) -> Connection:
        """The least busy run, or a new one where load asks for it; never two of one instance at once."""
        member = self._member(entry, caller)
        usable = member.usable
        best = min(usable, key=lambda run: (run.in_flight, not run.settled.is_set()), default=None)
        enough = len(member.runs) >= entry.instances or member.failures > 0
        if best is not None and (not best.in_flight or enough):
            return best
        if best is None and member.runs:
            return member.runs[-1]
        return self._start(self._key(entry, caller), caller.client)

    def _start(self, key: Key, client: Client) -> Connection:
        member = self._members[key]
        if self._closing or self._tasks is None:
            raise ServerUnusable(member.entry.name, "the gateway is ending")
        member.check_pause(anyio.current_time())
        if key[1]:
            self._make_room()
        owner = Client(capabilities=client.capabilities) if member.entry.shared and client.key else client
        given = Surroundings(
            self._connector, self.catalog, owner, self.on_change, lambda uri: self.on_update(owner, uri)
        )
        run = Connection(member.entry, limits_of(member.entry, self._settings), given)
        member.runs.append(run)
        self._tasks.start_soon(self._own, run, key)
        return run

    def _make_room(self) -> None:
        """Clients over HTTP may come without end: what has idled longest for one of them goes first."""
        own = [run for (_, client), member in self._members.items() if client for run in member.usable]
        idle = [run for run in own if not run.in_flight]
        if len(own) >= _MOST_OWN and idle:
            min(idle, key=lambda run: run.last_used).stop("was stopped to make room for other clients")

    async def _own(self, run: Connection, key: Key) -> None:
        """The task of one run."""
        logger.info("%s is started", run.entry.name)
        try:
            await run.run()
        finally:
            member = self._members[key]
            member.note_end(run, anyio.current_time())
            if key[1] and not (member.runs or member.failures):
                del self._members[key]
            logger.info("%s has ended%s", run.entry.name, f": {run.failure}" if run.failure else "")


def _refuse_unusable(entry: Entry) -> None:
    if entry.obstacle:
        raise ServerUnusable(entry.name, entry.obstacle)
