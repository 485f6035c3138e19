"""Servers in containers: stdio servers whose command is `docker` (or `podman`, `nerdctl`) and its first word `run`.

The container is no child of this system, so stopping its client may leave it. Such a command gets what makes the
container go with its client (`--rm`, `--init`, `-i`) and a name, by which it is removed if the client dies first.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from mcp_gateway.process import STEP, Command

_CLIENTS = {"docker", "podman", "nerdctl"}
_FLAGS = {
    "-d", "--detach", "-i", "--interactive", "--init", "--no-healthcheck", "--oom-kill-disable", "-P", "--privileged",
    "--publish-all", "-q", "--quiet", "--read-only", "--rm", "-t", "--tty",
}  # fmt: skip
"""Options of `docker run` that take no value; https://docs.docker.com/reference/cli/docker/container/run"""
_SHORT_FLAGS = re.compile(r"-[diPqt]{2,}")
_KEPT_VARIABLES = ("HOME", "PATH", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")


@dataclass(frozen=True)
class Container:
    """A container that a client runs.

    Attributes:
        command: The client's command, with what makes the container go with it.
        name: The container's name.
        ours: Whether the gateway gave it that name; under a name of a person's own another one may run, and is kept.
    """

    command: Command
    name: str
    ours: bool

    @property
    def removal(self) -> list[str]:
        """The command that removes it, whether it still runs or not."""
        return [self.command.program, "rm", "--force", self.name]

    def removal_line(self) -> str:
        """The same as a line for a shell that has no other variables, to be run beside what follows."""
        kept = {name: self.command.env[name] for name in _KEPT_VARIABLES if name in self.command.env}
        words = ["env", *(f"{name}={value}" for name, value in kept.items()), *self.removal]
        return f"{shlex.join(words)} >/dev/null 2>&1 &"

    async def remove(self) -> None:
        """Have it removed, without waiting for a daemon that is slow."""
        with anyio.move_on_after(STEP):
            if sys.platform == "win32":
                await anyio.run_process(self.removal, env=dict(self.command.env), check=False)
            else:
                await anyio.run_process(["/bin/sh", "-c", self.removal_line()], check=False, start_new_session=True)


def container_of(server: str, command: Command) -> Container | None:
    """The container that a command runs; None where it runs none."""
    client = Path(command.program).name.removesuffix(".exe").lower()
    if client not in _CLIENTS or "run" not in command.args[:2]:
        return None
    at = command.args.index("run") + 1
    options = list(_options(command.args[at:]))
    names = [word for word, _ in options]
    slug = re.sub(r"[^a-zA-Z0-9_.-]", "-", server)
    name = _value_of(options, "--name") or f"mcp-gateway-{slug}-{os.getpid()}-{os.urandom(4).hex()}"
    more: list[str] = []
    if not _has(names, "--rm"):
        more.append("--rm")
    if not _has(names, "--init"):
        more.append("--init")
    if not _has(names, "-i", "--interactive"):
        more.append("-i")
    if not _value_of(options, "--name"):
        more += ["--name", name]
    args = (*command.args[:at], *more, *command.args[at:])
    return Container(replace(command, args=args), name, ours="--name" in more)


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The options before the image, each with its value."""
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            return
        option, assigned, value = word.partition("=")
        if assigned or option in _FLAGS or _SHORT_FLAGS.fullmatch(option):
            yield option, value
        else:
            yield option, next(left, "")


def _has(options: Sequence[str], *wanted: str) -> bool:
    short = {word[1] for word in wanted if len(word) == len("-i")}
    return any(option in wanted or (_SHORT_FLAGS.fullmatch(option) and short & set(option[1:])) for option in options)


def _value_of(options: Sequence[tuple[str, str]], wanted: str) -> str:
    return next((value for option, value in options if option == wanted), "")
