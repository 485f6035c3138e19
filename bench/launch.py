"""What a shortcut around a launcher saves: `.venv/bin/python bench/launch.py [--rounds N]`.

Warm starts of real servers, each in turns by its launcher as the entry says (`GATEWAY_SHORTCUTS=0`) and by the
shortcut that the gateway has learnt from it: from the first call to a server that is ready, and the memory of all
its processes, as resident set sizes (what `ps` adds up to) and as proportional ones (what two processes share counts
half for each). Every figure is the median of its rounds. Goal: at most 0.55 of `npx`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import anyio
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from mcp_gateway.caller import Caller
from mcp_gateway.catalog import Catalog
from mcp_gateway.config import RegistryFile
from mcp_gateway.pool import Pool
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings
from mcp_gateway.transport import Connector

SERVERS = {
    "memory, npx": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-memory"]},
    "filesystem, npx": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/tmp"]},  # noqa: S108
    "everything, npx": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-everything"]},
    "time, uvx": {"command": "uvx", "args": ["mcp-server-time", "--local-timezone", "UTC"]},
    "git, uvx": {"command": "uvx", "args": ["mcp-server-git"]},
}
CASES = ("launcher", "shortcut")
MB = 1 << 20


def pool(home: Path, *, shortcuts: bool) -> Pool:
    """A pool over the servers; what it learns is kept in `home`."""
    redact, settings = Redactor(), Settings(home=home, start_limit=300, init_timeout=300)
    registry = RegistryFile(SERVERS, home / "servers.json", [], lambda: dict(os.environ))
    catalog = Catalog(home / "catalog.sqlite3")
    connector = Connector(home, dict(os.environ), redact, catalog, shortcuts=shortcuts)
    return Pool(registry, connector, settings, redact, catalog)


def memory() -> tuple[float, float]:
    """MB of all processes that this one has started, but for the guard: resident, and proportional."""
    found = [process for process in psutil.Process().children(recursive=True) if "guard" not in process.cmdline()]
    infos = [process.memory_full_info() for process in found]
    return sum(info.rss for info in infos) / MB, sum(info.pss for info in infos) / MB


async def measure(home: Path, name: str, *, shortcuts: bool, settle: float = 0.3) -> tuple[float, ...]:
    """Seconds until the server is ready, and MB of what runs then."""
    async with pool(home, shortcuts=shortcuts) as one:
        started = time.perf_counter()
        await one.hold(name, Caller())
        seconds = time.perf_counter() - started
        await anyio.sleep(settle)
        return seconds, *memory()


async def learnt(home: Path, name: str) -> str:
    """Has the gateway learn the shortcut; the version that it is for."""
    async with pool(home, shortcuts=True) as one:
        await one.hold(name, Caller())
        while (found := one.catalog.shortcut(one.entry(name))) is None:  # noqa: ASYNC110 - the gateway's own task writes it
            await anyio.sleep(0.05)
        return found.version


async def main(rounds: int) -> None:
    """Measure and print."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        versions = {name: await learnt(Path(folder), name) for name in SERVERS}
        for _ in range(rounds):
            for name in SERVERS:
                for case in CASES:
                    found[name, case].append(await measure(Path(folder), name, shortcuts=case == "shortcut"))
    print(f"{rounds} rounds, {os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    columns = [f"{what}: launcher | shortcut | ratio" for what in ("ready, s", "resident, MB", "proportional, MB")]
    print(f"| server | {' | '.join(columns)} |\n|---|{'---:|' * 9}")
    for name, version in versions.items():
        cells: list[str] = []
        for what, digits in ((0, 2), (1, 0), (2, 0)):
            long, short = (statistics.median(figures[what] for figures in found[name, case]) for case in CASES)
            cells += [f"{long:.{digits}f}", f"{short:.{digits}f}", f"{short / long:.2f}"]
        print(f"| {name} ({version}) | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    anyio.run(main, parser.parse_args().rounds)
