"""How a server is reached: a program over stdio, or a URL over Streamable HTTP or SSE.

A transport is an async context manager around a `Link`. It is entered and left by the one task that
owns the run; leaving it stops the whole tree of a child, within the bounds of `process.STEP`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio.abc import ByteReceiveStream

from mcp_gateway import logs
from mcp_gateway.catalog import Catalog
from mcp_gateway.docker import Container, container_of
from mcp_gateway.environment import child_environment, find_command, why_not_found
from mcp_gateway.errors import StartFailed
from mcp_gateway.launcher import Launchers
from mcp_gateway.link import Link
from mcp_gateway.process import Child, Command, Guard
from mcp_gateway.registry import Entry
from mcp_gateway.secrets import Redactor
from mcp_gateway.wire import LineReader, LineWriter, NotAMessageError

logger = logging.getLogger(logs.LOGGER)

_READ_BYTES = 1 << 18
_LAST_OUTPUT_LIMIT = 0.2
"""How long to read on after the process has ended, for what it said last is still in its pipes."""
_LEARN_LIMIT = 0.3
"""How long a stop waits for a look at what a launcher has started."""
_NOISE_CHARS = 500


Connect = Callable[[Entry], AbstractAsyncContextManager[Link]]
"""Opens a way to the server of an entry."""


class Connector:
    """Opens links; the seam that tests replace."""

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str],
        redact: Redactor,
        catalog: Catalog | None = None,
        *,
        shortcuts: bool = True,
    ) -> None:
        """Keep what all children share: the log folder, the environment, the guard, the shortcuts in `catalog`."""
        self._home = home
        self._environ = environ
        self._redact = redact
        self._guard = Guard()
        self._launchers = Launchers(catalog or Catalog(), self._guard, enabled=shortcuts)

    def __call__(self, entry: Entry) -> AbstractAsyncContextManager[Link]:
        """A way to the entry's server, not yet open."""
        if entry.kind == "stdio":
            return self._stdio(entry)
        from mcp_gateway import remote  # noqa: PLC0415 - a gateway without servers over HTTP need not load it
        from mcp_gateway.oauth import auth_for  # noqa: PLC0415 - the same

        return remote.connect(entry, auth_for(entry, self._home, self._redact))

    def close(self) -> None:
        """Give back what all children share."""
        self._guard.close()

    @asynccontextmanager
    async def _stdio(self, entry: Entry) -> AsyncGenerator[Link]:
        command = prepare(entry, self._environ)
        container = container_of(entry.name, command)
        if container is not None:
            command = container.command
            if container.ours:
                self._guard.at_last(container.removal_line())
        log = logs.ServerLog(self._home, entry.name, self._redact)
        try:
            child, shortcut = await self._started(entry, command)
            end = _End(child)
            link = replace(_link(child, log, end), shortcut=shortcut)
            drained, keeping = anyio.Event(), _Keeping()
            async with anyio.create_task_group() as tasks:
                try:
                    tasks.start_soon(_drain, child.stderr, log, drained)
                    tasks.start_soon(_watch, child, link)
                    tasks.start_soon(self._keep_short, entry, command, child, link, keeping)
                    yield link
                finally:
                    with anyio.CancelScope(shield=True):
                        await end.note(link)
                        if link.ready.is_set():
                            await keeping.end()
                        await child.stop()
                        await self._remove(container, child)
                        with anyio.move_on_after(_LAST_OUTPUT_LIMIT):
                            await drained.wait()
                    if shortcut and not link.ready.is_set():
                        self._launchers.forget(entry)
                    tasks.cancel_scope.cancel()
        finally:
            log.close()

    async def _remove(self, container: Container | None, child: Child) -> None:
        """Leave no container behind a client that was killed; one that ended well has removed it."""
        if container is not None and container.ours:
            if child.returncode != 0:
                await container.remove()
            self._guard.not_any_more(container.removal_line())

    async def _started(self, entry: Entry, command: Command) -> tuple[Child, bool]:
        """A child, and whether it was started without its launcher."""
        shorter = self._launchers.shorter(entry, command)
        if shorter is not None:
            try:
                return await _start(entry, shorter, self._guard), True
            except StartFailed:
                self._launchers.forget(entry)
        return await _start(entry, command, self._guard), False

    async def _keep_short(self, entry: Entry, command: Command, child: Child, link: Link, keeping: _Keeping) -> None:
        """Keep the way around the launcher up to date, once the server is ready; a failure costs nothing but that."""
        await link.ready.wait()
        try:
            with keeping.learning():
                if not link.shortcut:
                    await self._launchers.learn(entry, command, child.pid)
            with keeping.look:
                await self._launchers.look(entry, command)
        except Exception as exc:  # noqa: BLE001 - a convenience, whose failure must not end a server that runs
            logger.info("%s: no shortcut around its launcher: %r", entry.name, exc)


class _Keeping:
    """How far the keeping of a shortcut has come, for a stop that waits for some of it and cuts the rest short."""

    def __init__(self) -> None:
        self.learnt = anyio.Event()
        self.look = anyio.CancelScope()

    @contextmanager
    def learning(self) -> Generator[None]:
        """Whatever comes of it, it is over behind the block."""
        try:
            yield
        finally:
            self.learnt.set()

    async def end(self) -> None:
        """Many a session is a single call: what the launcher has started is looked at all the same."""
        with anyio.move_on_after(_LEARN_LIMIT):
            await self.learnt.wait()
        self.look.cancel()


def prepare(entry: Entry, environ: Mapping[str, str]) -> Command:
    """The command of a stdio entry, found as a person's shell would find it.

    Raises:
        StartFailed: There is no such program, or no such folder.
    """
    env = child_environment(environ, entry.env)
    if entry.cwd and not Path(entry.cwd).is_dir():
        raise StartFailed(entry.name, f'its folder "{entry.cwd}" does not exist')
    program = find_command(entry.command, env, entry.cwd)
    if program is None:
        raise StartFailed(entry.name, why_not_found(entry.command, env, entry.cwd), lacks=entry.lacks)
    return Command(program, entry.args, env, entry.cwd)


async def _start(entry: Entry, command: Command, guard: Guard) -> Child:
    try:
        return await Child.start(command, guard)
    except (OSError, ValueError) as exc:
        raise StartFailed(entry.name, f'the command "{entry.command}" cannot be run ({exc})') from exc


def _link(child: Child, log: logs.ServerLog, end: _End) -> Link:
    def on_noise(line: bytes, exc: NotAMessageError) -> None:
        log.line(f"[stdout, {exc}] {line[:_NOISE_CHARS].decode('utf-8', 'replace')}")

    stdout = child.stdout
    write = LineWriter(child.stdin.send)
    read = LineReader(lambda: stdout.receive(_READ_BYTES), on_noise=on_noise, answered=lambda: write.answered)
    return Link(read, write, read.ended, end.__str__, log.last_words, write.written)


class _End:
    """How a child came to its end, seen before the gateway puts an end to what is left of it."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._closed_its_output = False
        self._trouble = ""

    async def note(self, link: Link) -> None:
        """Look once more, now that the run is over: the exit follows the end of the output."""
        if link.ended.is_set():
            with anyio.move_on_after(_LAST_OUTPUT_LIMIT):
                await self._child.wait()
        self._closed_its_output = self._child.returncode is None
        self._trouble = link.read.trouble

    def __str__(self) -> str:
        if self._trouble:
            return f"was stopped: it {self._trouble}"
        code = self._child.returncode
        if code is None or self._closed_its_output:
            return "closed its output"
        return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


async def _drain(stderr: ByteReceiveStream, log: logs.ServerLog, drained: anyio.Event) -> None:
    try:
        while True:
            log.feed(await stderr.receive())
            await anyio.lowlevel.checkpoint()  # a flood is always there to be read
    except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        drained.set()


async def _watch(child: Child, link: Link) -> None:
    """A process that has ended is gone, even while something that it started holds its pipes open."""
    await child.wait()
    with anyio.move_on_after(_LAST_OUTPUT_LIMIT):
        await link.ended.wait()
    link.ended.set()
