"""Shortcuts around the real `npx` and `uvx`, over a network or a cache that has the packages."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from support import Running, Start

from mcp_gateway import launcher
from mcp_gateway.shortcuts import Shortcut

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(600)]

LIMITS = {"start_limit": 300, "init_timeout": 300}
OLD, NEW = "2026.7.4", "2026.8.31"
MEMORY = "@modelcontextprotocol/server-memory"


@pytest.fixture
def npx() -> str:
    program = shutil.which("npx")
    if program is None:
        pytest.skip("npx is not installed")
    return program


async def learnt(running: Running) -> Shortcut:
    """What is remembered once the server is ready."""
    await running.load("it")
    await running.call("gateway", "refresh", {"mcp_name": "it"})
    while (found := running.pool.catalog.shortcut(running.pool.entry("it"))) is None:
        await anyio.sleep(0.05)
    return found


def started() -> list[str]:
    """The command lines of the processes that stand below this one, without the gateway's guard."""
    return [
        " ".join(one.cmdline()) for one in psutil.Process().children(recursive=True) if "guard" not in one.cmdline()
    ]


async def in_two_runs(start: Start, entry: dict[str, Any]) -> tuple[Shortcut, list[str], list[str]]:
    """The shortcut, and the processes of the first and the second run."""
    async with start({"it": entry}, **LIMITS) as running:
        found, first = await learnt(running), started()
    async with start({"it": entry}, **LIMITS) as running:
        await learnt(running)
        return found, first, started()


async def test_npx_is_left_out_from_the_second_start_on(start: Start, npx: str, tmp_path: Path) -> None:
    entry = {"command": npx, "args": ["-y", "@modelcontextprotocol/server-filesystem@2026.8.31", str(tmp_path)]}
    found, first, second = await in_two_runs(start, entry)
    assert found.version == "2026.8.31"
    assert len(first) > 1
    assert [line.split(maxsplit=1)[1] for line in second] == [f"{found.argv[1]} {tmp_path}"]


async def test_uvx_is_left_out_from_the_second_start_on(start: Start, uv: Path) -> None:
    entry = {"command": str(uv / "uvx"), "args": ["mcp-server-time==2026.10.19", "--local-timezone", "UTC"]}
    found, first, second = await in_two_runs(start, entry)
    assert found.version == "2026.10.19"
    assert len(first) > 1
    assert second == [f"{' '.join(found.argv)} --local-timezone UTC"]


async def followed(start: Start, old: dict[str, Any], unpinned: dict[str, Any], spec: str) -> tuple[str, str]:
    """The version that stands behind `unpinned` a day after it was `old`, and the one that a start then runs."""
    async with start({"it": old}, **LIMITS) as running:
        known = await learnt(running)
    async with start({"it": unpinned}, **LIMITS) as running:
        catalog, entry = running.pool.catalog, running.pool.entry("it")
        catalog.keep_shortcut(entry, replace(known, spec=spec, looked_at=0))
        await running.load("it")
        await running.call("gateway", "refresh", {"mcp_name": "it"})
        assert any(known.argv[-1] in line for line in started())
        while (newer := catalog.shortcut(entry)) is None or newer.version == known.version:
            await anyio.sleep(0.05)
        await running.call("gateway", "restart", {"mcp_name": "it"})
        await running.call("gateway", "refresh", {"mcp_name": "it"})
        assert any(newer.argv[-1] in line for line in started())
        return known.version, newer.version


async def test_a_newer_version_from_npm_is_run_at_the_next_start(start: Start, npx: str) -> None:
    old, unpinned = ({"command": npx, "args": ["-y", spec]} for spec in (f"{MEMORY}@{OLD}", MEMORY))
    before, after = await followed(start, old, unpinned, MEMORY)
    assert before == OLD
    assert after >= NEW


async def test_a_newer_version_from_pypi_is_run_at_the_next_start(start: Start, uv: Path) -> None:
    old, unpinned = (
        {"command": str(uv / "uvx"), "args": [spec]} for spec in ("mcp-server-time==2026.10.10", "mcp-server-time")
    )
    before, after = await followed(start, old, unpinned, "mcp-server-time")
    assert before == "2026.10.10"
    assert after >= "2026.10.19"


def test_a_day_lies_between_two_looks() -> None:
    assert launcher.LOOK_EVERY == 24 * 3600
