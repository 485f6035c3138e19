"""A child process and everything that it starts: one group, started together, stopped together.

A stop closes stdin, waits, sends SIGTERM to the whole group, waits, and sends SIGKILL. The waits are
short, because a host gives the gateway itself about four seconds in all. On Linux, descendants that
have left the group are found by their parents and stopped as well. A guard, a shell of 1 MB that
reads from a pipe, does the same for a gateway that was itself killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from mcp.os.win32.utilities import close_process_job, create_windows_process, terminate_windows_process_tree

STEP = 0.5
"""Seconds after each step of a stop: three steps must fit into what a host allows, with room to spare."""
_POLL = 0.01

_Stream = TypeVar("_Stream")

_GUARD = """
trap '' HUP INT TERM
groups=
while read -r sign group; do
  case $sign in
    +) groups="$groups $group" ;;
    -) kept=
       for known in $groups; do [ "$known" = "$group" ] || kept="$kept $known"; done
       groups=$kept ;;
  esac
done
[ -n "$groups" ] || exit 0
family=$groups
more=yes
while [ -n "$more" ]; do
  more=
  for file in /proc/[0-9]*/stat; do
    read -r stat 2>/dev/null <"$file" || continue
    pid=${stat%% *}
    set -- ${stat##*) }
    case " $family $more " in *" $pid "*) continue ;; esac
    case " $family " in *" $2 "*) more="$more $pid" ;; esac
  done
  family="$family $more"
done
sleep 0.5 2>/dev/null || sleep 1
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
for pid in $family; do kill -s KILL "$pid" 2>/dev/null; done
exit 0
"""


@dataclass(frozen=True)
class Command:
    """A program as it is to be started: its full path, arguments, whole environment, folder."""

    program: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None


class Guard:
    """Kills the groups that it knows, and what they have started, when the gateway has left them behind.

    The end of the pipe is the signal, so nothing has to be sent. It is started with the first child
    and leaves with the gateway. On Windows the job objects of the children do the same.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._shell: subprocess.Popen[bytes] | None = None

    def add(self, group: int) -> None:
        """Watch over a group from now on."""
        self._say("+", group)

    def remove(self, group: int) -> None:
        """The group is gone; its number may be used again by others."""
        self._say("-", group)

    def close(self) -> None:
        """End the guard and wait for it."""
        if self._shell is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._shell.communicate(timeout=STEP)
            self._shell = None

    def _say(self, sign: str, group: int) -> None:
        if sys.platform == "win32":
            return
        with suppress(OSError):
            self._shell = self._shell or self._start()
            if self._shell.stdin is not None:
                self._shell.stdin.write(f"{sign} {group}\n".encode())

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
            cwd="/",
            env={"PATH": os.defpath},
        )


class Child:
    """One running child; whoever starts it awaits `stop` in the end."""

    def __init__(self, process: Process, guard: Guard) -> None:
        """Own `process`, which leads its own group."""
        self._process = process
        self._guard = guard

    def __repr__(self) -> str:
        return f"<Child {self.pid} {'running' if self._process.returncode is None else 'ended'}>"

    @classmethod
    async def start(cls, command: Command, guard: Guard) -> Child:
        """Start a program with pipes on stdin, stdout and stderr.

        Raises:
            OSError: The system refuses.
            ValueError: An argument or a variable holds a NUL.
        """
        words = [command.program, *command.args]
        if sys.platform == "win32":
            # PIPE where a file is expected goes straight on to Popen, which takes both.
            process = await create_windows_process(words[0], words[1:], dict(command.env), subprocess.PIPE, command.cwd)
            return cls(process, guard)
        process = await anyio.open_process(words, env=command.env, cwd=command.cwd, start_new_session=True)
        guard.add(process.pid)
        return cls(process, guard)

    @property
    def pid(self) -> int:
        """The child's process id, which is its group's as well."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def stdin(self) -> ByteSendStream:
        """Where requests go."""
        return _piped(self._process.stdin)

    @property
    def stdout(self) -> ByteReceiveStream:
        """Where answers come from."""
        return _piped(self._process.stdout)

    @property
    def stderr(self) -> ByteReceiveStream:
        """Where the child says what is wrong."""
        return _piped(self._process.stderr)

    async def wait(self) -> int:
        """Wait until the process has ended; others may still hold its pipes."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Stop the whole tree, within three steps; call it shielded."""
        family = _descendants([self.pid])
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.stdin.aclose()
        if not await self._gone_within(STEP):
            family |= _descendants([self.pid, *family])  # it may have started more in the meantime
            await self._terminate()
            if not await self._gone_within(STEP):
                family |= _descendants([self.pid, *family])
                self._signal_group("SIGKILL")
                await self._gone_within(STEP)
        _kill(family.values())
        self._release()

    async def _terminate(self) -> None:
        if sys.platform == "win32":
            await terminate_windows_process_tree(self._process)
        else:
            self._signal_group("SIGTERM")

    def _signal_group(self, name: str) -> None:
        if sys.platform == "win32":
            with suppress(OSError):
                self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, getattr(signal, name))

    async def _gone_within(self, seconds: float) -> bool:
        """The system tells of the leader's end alone, so the rest of the group has to be asked for."""
        deadline = anyio.current_time() + seconds
        while self._process.returncode is None or _group_alive(self.pid):
            if anyio.current_time() >= deadline:
                return False
            await anyio.sleep(_POLL)
        return True

    def _release(self) -> None:
        """Give back the pipes, which a survivor could hold open, and the watch over the group."""
        if sys.platform == "win32":
            close_process_job(self._process)
        else:
            self._guard.remove(self.pid)
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            with suppress(PermissionError, ProcessLookupError):
                transport.close()


def _piped(stream: _Stream | None) -> _Stream:
    if stream is None:
        msg = "the child was started without a pipe"
        raise RuntimeError(msg)
    return stream


def _group_alive(group: int) -> bool:
    """Whether a group has a member that still runs; one that is dead and not yet reaped does not count."""
    if sys.platform == "win32":
        return False
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    living = [stat for stat in _processes() if stat.group == group and not stat.dead]
    return bool(living) or not Path("/proc/self/stat").exists()


@dataclass(frozen=True)
class _Stat:
    """A line of Linux' `/proc/<pid>/stat`, proc(5): what is needed to know a process again."""

    pid: int
    parent: int
    group: int
    dead: bool
    started: str


def _processes() -> Iterable[_Stat]:
    """All processes of the system; none where there is no `/proc`."""
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return
    for name in names:
        stat = _stat(int(name))
        if stat is not None:
            yield stat


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent, group, *rest = text[text.rindex(")") + 2 :].split()
    return _Stat(pid, int(parent), int(group), state in "ZX", rest[16])


def _descendants(ancestors: Iterable[int]) -> dict[int, _Stat]:
    """Everything below these processes, by process id; asked while the tree still hangs together."""
    children: dict[int, list[_Stat]] = {}
    for stat in _processes():
        children.setdefault(stat.parent, []).append(stat)
    found: dict[int, _Stat] = {}
    waiting = list(ancestors)
    while waiting:
        below = children.pop(waiting.pop(), [])
        found |= {stat.pid: stat for stat in below}
        waiting.extend(stat.pid for stat in below)
    return found


def _kill(strays: Iterable[_Stat]) -> None:
    """End what is left of a tree; a number that another process has taken since is left alone."""
    for stray in strays:
        now = _stat(stray.pid)
        if now is not None and now.started == stray.started and not now.dead:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(stray.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
