"""A child process and everything that it starts: one group, started together, stopped together.

A stop closes stdin, waits, sends SIGTERM to the whole group, waits, and sends SIGKILL. The waits are
short, because a host gives the gateway itself about four seconds in all. What has left the group is
known on Linux by a mark in its environment, which every descendant inherits, whoever its parent is by
now. A guard, a shell of 1 MB that reads from a pipe, does the same for a gateway that was itself killed.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
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

_MARK = "MCP_GATEWAY_RUN"
"""The variable that marks a child and what it starts; its value names the gateway and the run."""

_GUARD = """
trap '' HUP INT TERM
groups=
last=
while read -r sign group; do
  case $sign in
    !) last="$last
$group" ;;
    ~) last=$(printf '%s\\n' "$last" | grep -vxF -- "$group") ;;
    +) groups="$groups $group" ;;
    -) kept=
       for known in $groups; do [ "$known" = "$group" ] || kept="$kept $known"; done
       groups=$kept ;;
  esac
done
[ -n "$groups" ] || exit 0
sleep 0.5 2>/dev/null || sleep 1
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
eval "$last"
for file in $(grep -ls "$1" /proc/[0-9]*/environ 2>/dev/null); do
  pid=${file#/proc/}
  kill -s KILL "${pid%/environ}" 2>/dev/null
done
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
        self._mark = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._runs = itertools.count(1)

    def next_mark(self) -> str:
        """A mark for one more run; no process has it yet."""
        return f"{self._mark}-{next(self._runs)}-"

    def add(self, group: int) -> None:
        """Watch over a group from now on."""
        self._say("+", group)

    def remove(self, group: int) -> None:
        """The group is gone; its number may be used again by others."""
        self._say("-", group)

    def at_last(self, line: str) -> None:
        """Have a line of shell run as well, where the gateway has left something behind."""
        self._say("!", line)

    def not_any_more(self, line: str) -> None:
        """What that line was for is done."""
        self._say("~", line)

    def close(self) -> None:
        """End the guard and wait for it."""
        if self._shell is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._shell.communicate(timeout=STEP)
            self._shell = None

    def _say(self, sign: str, group: int | str) -> None:
        if sys.platform == "win32":
            return
        with suppress(OSError):
            self._shell = self._shell or self._start()
            if self._shell.stdin is not None:
                self._shell.stdin.write(f"{sign} {group}\n".encode())

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", f"{_MARK}={self._mark}"],
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

    def __init__(self, process: Process, guard: Guard, mark: str) -> None:
        """Own `process`, which leads its own group and carries `mark`."""
        self._process = process
        self._guard = guard
        self._mark = mark

    def __repr__(self) -> str:
        return f"<Child {self.pid} {'running' if self._process.returncode is None else 'ended'}>"

    @classmethod
    async def start(cls, command: Command, guard: Guard) -> Child:
        """Start a program with pipes on stdin, stdout and stderr.

        Raises:
            OSError: The system refuses.
            ValueError: An argument or a variable holds a NUL.
        """
        words, mark = [command.program, *command.args], guard.next_mark()
        env = {**command.env, _MARK: mark}
        if sys.platform == "win32":
            # PIPE where a file is expected goes straight on to Popen, which takes both.
            process = await create_windows_process(words[0], words[1:], env, subprocess.PIPE, command.cwd)
            return cls(process, guard, mark)
        process = await anyio.open_process(words, env=env, cwd=command.cwd, start_new_session=True)
        guard.add(process.pid)
        return cls(process, guard, mark)

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
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.stdin.aclose()
        if not await self._gone_within(STEP):
            await self._terminate()
            if not await self._gone_within(STEP):
                self._signal_group("SIGKILL")
                await self._gone_within(STEP)
        killed = _kill_marked(f"{_MARK}={self._mark}".encode())
        await _until(lambda: not any(map(_running, killed)), STEP)
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
        return await _until(lambda: self._process.returncode is not None and not _group_alive(self.pid), seconds)

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


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something came true in time; asked for, as the system tells of the end of direct children alone."""
    deadline = anyio.current_time() + seconds
    while not condition():
        if anyio.current_time() >= deadline:
            return False
        await anyio.sleep(_POLL)
    return True


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
    states = [state for state in map(_state, _pids()) if state is not None and state.group == group]
    return any(not state.dead for state in states) or not states


@dataclass(frozen=True)
class _State:
    """What Linux' `/proc/<pid>/stat` says of a process, proc(5)."""

    group: int
    dead: bool


def _pids() -> list[int]:
    """All processes of the system; none where there is no `/proc`."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _state(pid: int) -> _State | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, _, group, *_ = text[text.rindex(")") + 2 :].split()
    return _State(int(group), state in "ZX")


def _running(pid: int) -> bool:
    state = _state(pid)
    return state is not None and not state.dead


def _kill_marked(mark: bytes) -> list[int]:
    """End what has left the group of its run; Linux."""
    killed: list[int] = []
    for pid in _pids():
        with suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes():
                os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
                killed.append(pid)
    return killed
