"""What happens to a gateway that is no server's doing: full disks, clocks that jump, descriptors that run out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from hosting import Host, StartHost
from support import Running, Start, child, text_of

from mcp_gateway.caller import Client

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")]

MOUNTS = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
os.execv(sys.argv[1], sys.argv[1:])
"""


def mounted(home: Path, size: str, then: str) -> list[str]:
    """A wrapper that puts a small file system of its own under the home folder, and does something to it."""
    probe = [*MOUNTS, "mount", "-t", "tmpfs", "none", str(home.parent)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    home.mkdir(exist_ok=True)
    script = f"""
        set -e
        cp -r {home} {home}.kept
        mount -t tmpfs -o size={size} none {home}
        cp -r {home}.kept/. {home}/
        {then}
        exec "$@"
    """
    return [*MOUNTS, "sh", "-c", script, "sh"]


def test_a_full_disk_costs_what_would_have_been_written(host: StartHost, tmp_path: Path) -> None:
    home = tmp_path / "home"
    fill = f"dd if=/dev/zero of={home}/filler bs=1k 2>/dev/null || true"
    entries = {"kind": child("friendly"), "noisy": child("noisy")}
    with host(entries, wrapper=mounted(home, "64k", fill), GATEWAY_MAX_RESULT_CHARS="1000") as one:
        one.initialize()
        assert json.loads(one.call("kind", "echo", {"text": "hi"})) == {"text": "hi"}
        assert "The rest could not be kept; ask for less at once.]" in one.call("kind", "big", {"size": 100_000})
        for _ in range(3):
            assert json.loads(one.call("kind", "echo", {"text": "hi"})) == {"text": "hi"}
        assert "friendly" not in one.call("gateway", "status")
        said = ended(one)
    assert said.count("going on without") == 1


def test_a_home_that_can_only_be_read_is_read(host: StartHost, tmp_path: Path) -> None:
    home = tmp_path / "home"
    entries = {"kind": child("friendly"), "off": {"disabled": True}}
    with host(entries) as one:
        one.initialize()
        one.call("gateway", "refresh", {"mcp_name": "kind"})
        ended(one)
    with host(entries, wrapper=mounted(home, "8m", f"mount -o remount,ro {home}")) as one:
        one.initialize()
        assert "kind: not running, 19 tools" in one.call("gateway", "status")
        assert json.loads(one.call("kind", "echo", {"text": "hi"})) == {"text": "hi"}
        assert "The rest could not be kept" in one.call("kind", "big", {"size": 100_000})
        said = ended(one)
    assert said.count("going on without") == 1


def ended(one: Host) -> str:
    """What the gateway has said on stderr, after it has ended by itself."""
    assert one.process.stdin
    assert one.process.stderr
    one.process.stdin.close()
    assert one.process.wait(20) == 0
    return one.process.stderr.read().decode()


def test_descriptors_that_run_out_cost_the_servers_that_came_last(host: StartHost) -> None:
    entries = {f"kind{number}": child("friendly") for number in range(24)}
    limited = [sys.executable, "-c", LIMITED]
    with host(entries, wrapper=limited) as one:
        one.initialize()
        answers = [one.call(name, "echo", {"text": "hi"}) for name in entries]
        worked = [name for name, said in zip(entries, answers, strict=True) if "hi" in said]
        failed = [name for name in entries if name not in worked]
        assert len(worked) >= 3
        assert failed
        assert all("Too many open files" in said for said in answers if "hi" not in said), answers
        for name in worked:
            assert "hi" in one.call(name, "echo", {"text": "hi"})
        one.call("gateway", "restart", {"mcp_name": worked[0]})
        one.call("gateway", "restart", {"mcp_name": worked[1]})
        while "hi" not in one.call(failed[0], "echo", {"text": "hi"}):
            time.sleep(0.1)
        ended(one)


@pytest.mark.parametrize("years", [10, -10])
async def test_a_clock_that_jumps_changes_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    entries = {"kind": child("friendly"), "late": child("slow", 1.0, tmp_path / "starts")}
    before = time.time
    async with start(entries, max_result_chars=1000, idle_timeout=30) as running, anyio.create_task_group() as tasks:
        await running.text("kind", "big", {"size": 5000})
        tasks.start_soon(running.text, "late", "late")
        tasks.start_soon(running.text, "kind", "slow", {"seconds": 0.5})
        await anyio.sleep(0.2)
        monkeypatch.setattr(time, "time", lambda: before() + years * 365 * 86_400)
        for _ in range(3):
            assert "hi" in await running.text("kind", "echo", {"text": "hi"})
        assert "kind.echo(" in await running.list("echo")
        cut = await running.text("kind", "big", {"size": 5000})
        assert '"id": "r' in cut
        assert running.pool.state("kind") == "running"


async def test_a_home_that_is_removed_while_a_gateway_runs_costs_nothing_but_what_was_in_it(
    start: Start, tmp_path: Path
) -> None:
    async with start({"kind": child("friendly")}, max_result_chars=1000) as running:
        await running.text("kind", "echo", {"text": "hi"})
        for name in ("catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        shutil.rmtree(tmp_path / "logs", ignore_errors=True)
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})
        assert "echo(" in await running.load("kind")
        assert "kind.echo(" in await running.list("echo")
        assert '"id": "r1"' in await running.text("kind", "big", {"size": 5000})


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_a_server_that_is_killed_costs_its_call_and_no_other(start: Start, sent: signal.Signals) -> None:
    failures: list[str] = []

    async def call(running: Running) -> None:
        failures.append(await running.error("kind", "slow"))

    async with start({"kind": child("friendly"), "other": child("friendly")}) as running:
        pid = json.loads(await running.text("kind", "where"))["pid"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, running)
            while running.pool.runs_of(Client())[0].in_flight == 0:
                await anyio.sleep(0.01)
            assert "hi" in await running.text("other", "echo", {"text": "hi"})
            os.kill(pid, sent)
        assert f"was ended by signal {sent.value} during the call" in failures[0]
        assert "hi" in await running.text("kind", "echo", {"text": "hi"})


async def test_an_answer_behind_a_cancellation_reaches_nobody_else(start: Start) -> None:
    async with start({"kind": child("friendly")}) as running:
        await running.text("kind", "where")
        for _ in range(5):
            with anyio.move_on_after(0.02):
                await running.call("kind", "slow", {"seconds": 0.1})
            assert json.loads(await running.text("kind", "echo", {"text": "mine"})) == {"text": "mine"}
            await anyio.sleep(0.1)
        assert len(json.loads(await running.text("kind", "cancelled"))) >= 1


@pytest.mark.parametrize("stage", ["start", "initialize", "list", "call"])
async def test_a_caller_who_gives_up_at_any_stage_leaves_the_server_to_the_next(
    start: Start, tmp_path: Path, stage: str
) -> None:
    file = tmp_path / "fault"
    file.touch()
    async with start({"hostile": child("hostile", f"hang at {stage}", file)}) as running:
        with anyio.move_on_after(0.7):
            await running.call("hostile", "work")
        file.unlink()
        assert await running.text("hostile", "work") == "done"


async def test_a_hundred_callers_of_a_server_that_dies_are_each_answered_once(start: Start) -> None:
    answers: list[tuple[int, dict[str, Any]]] = []

    async def call(running: Running, number: int) -> None:
        tool = "crash" if number == 50 else "echo"
        result = await running.call("kind", tool, {"text": str(number)})
        answers.append((number, {"error": result.is_error, "text": text_of(result)}))

    async with start({"kind": child("friendly")}) as running, anyio.create_task_group() as tasks:
        await running.text("kind", "where")
        for number in range(100):
            tasks.start_soon(call, running, number)
    assert sorted(number for number, _ in answers) == list(range(100))
    for number, answer in answers:
        assert answer["error"] or json.loads(answer["text"]) == {"text": str(number)}
    assert dict(answers)[50]["error"]
