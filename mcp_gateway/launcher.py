"""Starts without the launcher: the program that `npx` or `uvx` ended up running is remembered and started directly.

Whenever that cannot be done, or does not work, the launcher is used as the entry says, and what it runs then is
remembered anew. A newer version is looked for once a day, beside a server that runs; a pinned one never changes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream

from mcp_gateway import logs
from mcp_gateway.catalog import Catalog
from mcp_gateway.environment import find_command
from mcp_gateway.process import Child, Command, Guard
from mcp_gateway.registry import Entry
from mcp_gateway.shortcuts import Launch, Shortcut, launch_of, version_in

logger = logging.getLogger(logs.LOGGER)

LOOK_EVERY = 86_400.0
"""Seconds between two looks for a newer version."""
_AGAIN = 3_600.0
"""The same after a look that was broken off by the end of its server."""
_LOOK_LIMIT = 300.0
"""A launcher that fetches a package takes up to two minutes on a slow line."""
_MOST_OUTPUT = 100_000
_FLAG = re.compile(r"--?[A-Za-z-]+")
_OF_LAUNCHERS = re.compile(
    r"PATH|npm_.*|NODE|INIT_CWD|COLOR|EDITOR|UV|UV_.*|VIRTUAL_ENV|_|SHLVL|PWD|OLDPWD|LC_CTYPE|__.*|MCP_GATEWAY_RUN",
    re.IGNORECASE,
)
"""Variables that launchers and shells set by themselves, and the gateway's own mark."""


class Launchers:
    """Shortcuts around launchers, kept in the catalog."""

    def __init__(self, catalog: Catalog, guard: Guard, *, enabled: bool = True) -> None:
        """Keep what is learnt in `catalog`; what is started for it is watched by `guard`."""
        self._catalog = catalog
        self._guard = guard
        self._enabled = enabled

    def shorter(self, entry: Entry, command: Command) -> Command | None:
        """The program that the entry's launcher ran the last time, ready to be started; None where there is none."""
        launch = self._launch(entry)
        shortcut = self._catalog.shortcut(entry) if launch else None
        if launch is None or shortcut is None or shortcut.spec != launch.spec:
            return None
        env = dict(command.env)
        if shortcut.folder:
            env["PATH"] = os.pathsep.join((shortcut.folder, env.get("PATH", os.defpath)))
        program = find_command(shortcut.argv[0], env, entry.cwd)
        if program is None or not _stands(shortcut, launch):
            self.forget(entry)
            return None
        logger.info("%s is started without its launcher: %s %s", entry.name, launch.package, shortcut.version)
        return Command(program, (*shortcut.argv[1:], *launch.own), env, command.cwd)

    def forget(self, entry: Entry) -> None:
        """What was remembered does not work (any more)."""
        logger.info("%s: its launcher is used again", entry.name)
        self._catalog.keep_shortcut(entry, None)

    async def learn(self, entry: Entry, command: Command, pid: int) -> None:
        """Remember what the launcher `pid` has ended up running, now that the server is ready."""
        launch = self._launch(entry)
        if launch is None:
            return
        found = await anyio.to_thread.run_sync(_observed, pid, launch, command)
        if found is not None and found.version in {"", launch.pinned or found.version}:
            self._catalog.keep_shortcut(entry, found)

    async def look(self, entry: Entry, command: Command) -> None:
        """Have the next start run a newer version, where the entry lets it and there is one; once a day."""
        launch, shortcut = self._launch(entry), self._catalog.shortcut(entry)
        if launch is None or shortcut is None or not _may_change(launch, shortcut):
            return
        now = time.time()
        if abs(now - shortcut.looked_at) < LOOK_EVERY:  # a clock may have been set back
            return
        self._catalog.keep_shortcut(entry, replace(shortcut, looked_at=now - LOOK_EVERY + _AGAIN))
        newer: Shortcut | None = None
        with anyio.move_on_after(_LOOK_LIMIT):
            newer = await self._newer(launch, shortcut, command)
        latest = self._catalog.shortcut(entry)
        if latest is not None and latest.argv == shortcut.argv:
            self._catalog.keep_shortcut(entry, replace(newer or shortcut, looked_at=now))
        if newer is not None:
            logger.info("%s: the next start runs version %s", entry.name, newer.version)

    def _launch(self, entry: Entry) -> Launch | None:
        return launch_of(entry.command, entry.args) if self._enabled else None

    async def _newer(self, launch: Launch, shortcut: Shortcut, command: Command) -> Shortcut | None:
        """The same program in its newest version, fetched and ready; None where it is the one that is known."""
        version = ""
        if launch.kind == "npx":
            version = await self._newest_of_npm(launch, command)
            if version in {"", shortcut.version}:
                return None
        path = await self._output(replace(command, args=launch.asking(version)))
        folder = path.strip().rpartition("\n")[2].partition(os.pathsep)[0]
        moved = shortcut.moved(folder, version_in(folder, launch.package))
        return moved if moved.version not in {"", shortcut.version} and _stands(moved, launch) else None

    async def _newest_of_npm(self, launch: Launch, command: Command) -> str:
        npm = find_command(str(Path(command.program).with_name("npm")), command.env, None)
        if npm is None:
            return ""
        spec = f"{launch.package}@{launch.wanted or 'latest'}"
        said = await self._output(Command(npm, ("view", spec, "version", "--json"), command.env, command.cwd))
        try:
            versions: Any = json.loads(said)
        except ValueError:
            return ""
        return str(versions[-1] if isinstance(versions, list) and versions else versions or "")  # pyright: ignore[reportUnknownArgumentType]

    async def _output(self, command: Command) -> str:
        """What a program writes on stdout; it is a child like all others, and leaves nothing behind."""
        child, said = await Child.start(command, self._guard), b""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_read, child.stderr)
                said = await _read(child.stdout)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await child.stop()
        return said.decode("utf-8", "replace")


async def _read(stream: ByteReceiveStream) -> bytes:
    """All that is written; of a flood, so much."""
    pieces: list[bytes] = []
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        while sum(map(len, pieces)) < _MOST_OUTPUT:
            pieces.append(await stream.receive())
    return b"".join(pieces)


def _may_change(launch: Launch, shortcut: Shortcut) -> bool:
    """Whether a newer version may take the place of this one; a person's own installation is theirs to update."""
    fetched = launch.kind == "uvx" or "_npx" in Path(shortcut.folder).parts
    return bool(fetched and shortcut.folder and shortcut.version and not launch.pinned)


def _stands(shortcut: Shortcut, launch: Launch) -> bool:
    """Whether the program is where it was, in the version that it was."""
    files = [Path(word) for word in shortcut.argv if Path(word).is_absolute()]
    return all(file.exists() for file in files) and version_in(shortcut.folder, launch.package) == shortcut.version


def _observed(pid: int, launch: Launch, command: Command) -> Shortcut | None:
    """What the launcher `pid` has started in its own place or below it, if that can be started without it."""
    import psutil  # noqa: PLC0415 - needed at the first start of a server by a launcher

    with suppress(psutil.Error, OSError):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                argv = _program(process.cmdline(), launch)
                if argv:
                    return _equivalent(launch, command, argv, process.cwd(), process.environ())
    return None


def _program(words: Sequence[str], launch: Launch) -> tuple[str, ...]:
    """A command line without the arguments that the entry gives it; empty for launchers and shells on the way."""
    end = len(words) - len(launch.own)
    argv, own = tuple(words[:end]), tuple(words[end:])
    if end < 1 or own != launch.own:
        return ()
    on_the_way = any(launch.spec in word.split() for word in argv) or (len(argv) > 1 and argv[1] in {"-c", "/d", "/c"})
    return () if on_the_way else argv


def _equivalent(
    launch: Launch, command: Command, argv: tuple[str, ...], cwd: str, environ: Mapping[str, str]
) -> Shortcut | None:
    """The shortcut to a program; None where something on the way to it has done more than to start it.

    A script between the launcher and the program may give it variables, arguments or another folder, of which nothing
    would be known later; and none of them is to be kept, for they may be secret.
    """
    *before, file = argv
    plain = all(_FLAG.fullmatch(word) for word in before[1:]) and Path(file).is_absolute() and Path(file).is_file()
    same_place = Path(cwd).resolve() == Path(command.cwd or ".").resolve()
    given = {name: value for name, value in command.env.items() if not _OF_LAUNCHERS.fullmatch(name)}
    found = {name: value for name, value in environ.items() if not _OF_LAUNCHERS.fullmatch(name)}
    if not (plain and same_place and given == found):
        return None
    first = environ.get("PATH", "").partition(os.pathsep)[0]
    folder = "" if first in command.env.get("PATH", "").split(os.pathsep) else first
    return Shortcut(launch.spec, argv, folder, version_in(folder, launch.package), time.time())
