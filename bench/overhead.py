"""What the gateway costs: `.venv/bin/python bench/overhead.py [--peers] [--rounds N]`.

In one run, side by side and in turns, so that a noisy machine hurts all alike: from the start of the
process to the answer of `tools/list`, the first call, warm calls one by one, 50 calls in flight, a
result of 20 MB, and the memory of an idle process with 50 servers configured. The server behind is
`bench/child.py`, on the standard library alone. Every figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from mcp import Client

sys.path.insert(0, str(Path(__file__).resolve().parent))
import subjects
from subjects import Subject

WARM_CALLS = 1_000
IN_FLIGHT = 50
FLIGHT_CALLS = 3_000
BIG_BYTES = 20_000_000
SERVERS = 50
PATIENCE = 90

START = "start → tools/list, s"
FIRST = "first call, ms (a gateway starts the server)"
P50 = "warm call p50, ms"
P99 = "warm call p99, ms"
RATE = f"calls/s, {IN_FLIGHT} in flight"
BIG = "20 MB result, s"
MEMORY = f"idle memory, MB ({SERVERS} servers)"
ROWS = (START, FIRST, P50, P99, RATE, BIG, MEMORY)

Figures = dict[str, dict[str, list[float]]]


async def call(client: Client, subject: Subject, **arguments: int) -> None:
    """One call; a failure ends the measurement."""
    tool, parameters = subject.call(arguments)
    result = await client.call_tool(tool, parameters)
    received = sum(len(getattr(block, "text", "")) for block in result.content)
    if result.is_error or received < arguments.get("size", 0):
        raise RuntimeError(f"{received} characters: {str(result.content)[:200]}")


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    await action()
    return time.perf_counter() - started


async def measure_start(subject: Subject, found: dict[str, list[float]]) -> None:
    """From nothing to the answer of `tools/list`, and then the first call."""
    started = time.perf_counter()
    async with Client(subject.server, mode="legacy") as client:
        await client.list_tools()
        found[START].append(time.perf_counter() - started)
        if subject.call({})[0]:
            found[FIRST].append(1e3 * await timed(lambda: call(client, subject)))


async def measure_calls(subject: Subject, found: dict[str, list[float]]) -> None:
    """Warm calls, calls in flight, and a big result."""
    async with Client(subject.server, mode="legacy") as client:
        for _ in range(50):
            await call(client, subject)
        times = sorted([await timed(lambda: call(client, subject)) for _ in range(WARM_CALLS)])
        found[P50].append(1e3 * times[WARM_CALLS // 2])
        found[P99].append(1e3 * times[WARM_CALLS * 99 // 100])
        found[RATE].append(FLIGHT_CALLS / await timed(lambda: in_flight(client, subject)))
        found[BIG].append(await timed(lambda: call(client, subject, size=BIG_BYTES)))


async def in_flight(client: Client, subject: Subject) -> None:
    """Many calls, never more than so many at once."""
    left = iter(range(FLIGHT_CALLS))

    async def work() -> None:
        for _ in left:
            await call(client, subject)

    async with anyio.create_task_group() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.start_soon(work)


async def measure_memory(subject: Subject, found: dict[str, list[float]]) -> None:
    """Resident memory of the process right after `tools/list`, where the system tells."""
    before = children()
    async with Client(subject.server, mode="legacy") as client:
        await client.list_tools()
        found[MEMORY].append(sum(map(resident, children() - before)))


def children() -> set[int]:
    """Processes that this one has started, all generations; Linux."""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text()
        except OSError:
            continue
        parents[int(file.parent.name)] = int(text[text.rindex(")") + 2 :].split()[1])
    found: set[int] = {os.getpid()}
    while below := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= below
    return found - {os.getpid()}


def resident(pid: int) -> float:
    """MB of resident memory; Linux."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


async def attempt(
    measure: Callable[[Subject, dict[str, list[float]]], Awaitable[None]], subject: Subject, figures: Figures
) -> None:
    """Measure; what fails or hangs is said and leaves its row empty."""
    try:
        with anyio.fail_after(PATIENCE):
            await measure(subject, figures[subject.name])
    except Exception as exc:  # noqa: BLE001 - a peer may fail in any way, and the others go on
        print(f"{subject.name}: {measure.__name__}: {exc!r:.200}", file=sys.stderr)


async def run(home: Path, rounds: int, *, with_peers: bool) -> Figures:
    """All rounds, the subjects in turns."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    bare, straight, own = subjects.empty(home / "a"), subjects.direct(home / "a"), subjects.gateway(home / "b")
    full = subjects.gateway(home / "c", SERVERS)
    others = subjects.peers(home / "d") if with_peers else []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for subject in (bare, straight, full, *others):
            await attempt(measure_start, subject, figures)
        for subject in (straight, own, *others):
            await attempt(measure_calls, subject, figures)
        for subject in (bare, full):
            await attempt(measure_memory, subject, figures)
    return figures


def table(figures: Figures) -> str:
    """The medians, as a table in Markdown."""
    names = list(figures)
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for row in ROWS:
        cells = [shown(figures[name].get(row)) for name in names]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(values: list[float] | None) -> str:
    """A median, or a dash."""
    if not values:
        return "-"
    middle = statistics.median(values)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.2f}"  # noqa: PLR2004 - two digits are enough below


def goals(figures: Figures) -> str:
    """The ratios and differences that the gateway is held to."""

    def median(name: str, row: str) -> float:
        return statistics.median(figures[name][row])

    own, straight, bare = "this gateway", "direct", "empty MCPServer"
    checks = (
        ("start → tools/list against an empty MCPServer", median(own, START) / median(bare, START), "at most", 1.15),
        ("warm call over direct at p50, ms", median(own, P50) - median(straight, P50), "at most", 0.8),
        ("50 in flight against direct", median(own, RATE) / median(straight, RATE), "at least", 0.4),
        ("20 MB result against direct", median(own, BIG) / median(straight, BIG), "at most", 2.0),
    )
    return "\n".join(
        f"{'reached' if (value <= goal) is (kind == 'at most') else 'MISSED '} {name}: {value:.2f} ({kind} {goal})"
        for name, value, kind, goal in checks
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", action="store_true", help="install and measure other gateways as well")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in "abcd":
            (home / name).mkdir()
        figures = anyio.run(lambda: run(home, options.rounds, with_peers=options.peers))
    print(f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, {options.rounds} rounds\n")
    print(table(figures))
    print(f"\n{goals(figures)}")


if __name__ == "__main__":
    main()
