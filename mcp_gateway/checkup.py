"""Whether servers are ready, tried by starting them: for each a verdict, and what to do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mcp_gateway import menu
from mcp_gateway.caller import Caller
from mcp_gateway.errors import GatewayError, ServerUnusable, StartFailed, StillStarting, circumstances
from mcp_gateway.pool import Pool
from mcp_gateway.secrets import Redactor

_AT_ONCE = 4
"""Servers that are started at the same time; launchers compete for the network and the disk."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Verdict:
    """What `check` found out about one server.

    Attributes:
        ok: Whether it is ready.
        text: Ready with what, or what is wrong and what to do.
        tools: How many tools it has; None where it is not ready.
        seconds: From the start to ready, or to the failure.
    """

    name: str
    ok: bool
    text: str
    tools: int | None
    seconds: float


async def patiently(job: Callable[[], Awaitable[_T]]) -> _T:
    """At a terminal nobody gives up after a minute: wait as long as the start is going on."""
    while True:
        try:
            return await job()
        except StillStarting:
            continue


async def check_all(pool: Pool, redact: Redactor, names: list[str], tell: Console) -> list[Verdict]:
    """Start all, a few at a time; progress goes to stderr, each verdict to `tell` as soon as it is known."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    verdicts: dict[str, Verdict] = {}
    turns = anyio.Semaphore(_AT_ONCE)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        async def check(name: str) -> None:
            async with turns:
                shown = progress.add_task(name, total=None)
                verdict = await _check(pool, redact, name)
                verdicts[name] = verdict
                progress.remove_task(shown)
                mark = "ok  " if verdict.ok else "FAIL"
                tell.print(f"{mark} {name}: {verdict.text}", markup=False)

        async with anyio.create_task_group() as tasks:
            for name in dict.fromkeys(names):
                tasks.start_soon(check, name)
    return [verdicts[name] for name in dict.fromkeys(names)]


async def _check(pool: Pool, redact: Redactor, name: str) -> Verdict:
    started = anyio.current_time()
    try:
        knowledge = await patiently(lambda: pool.knowledge(name, Caller(), fresh=True))
    except GatewayError as exc:
        return Verdict(name, ok=False, text=redact(_why(exc)), tools=None, seconds=_since(started))
    seconds = _since(started)
    count = len(knowledge.tools)
    if knowledge.tools_error:
        text = f"it starts, but its tools cannot be listed: {knowledge.tools_error}"
        return Verdict(name, ok=False, text=redact(text), tools=None, seconds=seconds)
    lacks = pool.entry(name).lacks
    note = f" (lacks {', '.join(lacks)}: calls may fail)" if lacks else ""
    text = f"ready with {menu.counted(count, 'tool')} in {seconds:.1f} s{note}"
    return Verdict(name, ok=True, text=text, tools=count, seconds=seconds)


def _why(exc: GatewayError) -> str:
    """The failure, without what only a caller of a tool needs to know."""
    if isinstance(exc, StartFailed):
        return "\n".join([f"it did not start: {exc.reason}", *circumstances(exc.lacks, exc.last_words)])
    return exc.reason if isinstance(exc, ServerUnusable) else str(exc)


def _since(started: float) -> float:
    return round(anyio.current_time() - started, 3)
