"""The gateway as a process: the wire, the signals, and what is left of its tree after each way to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from hosting import INITIALIZE, Host, StartHost
from mcp import Client, StdioServerParameters
from support import PROJECT, Liveness, child, text_of, write_config

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are POSIX")


def stubborn(liveness: Liveness) -> dict[str, Any]:
    return {kind: child("stubborn", liveness.port, kind) for kind in ("group", "session")}


def wake(one: Host, liveness: Liveness) -> None:
    """Start both stubborn children, and see all six processes alive."""
    one.initialize()
    assert one.call("group", "hello") == "hello"
    assert one.call("session", "hello") == "hello"
    liveness.expect(6)
    assert liveness.alive() == 6


def test_eof_ends_the_gateway_and_the_whole_tree(host: StartHost, liveness: Liveness) -> None:
    with host(stubborn(liveness)) as one:
        wake(one, liveness)
        one.process.stdin.close()
        assert one.process.wait(timeout=20) == 0
        assert liveness.alive() == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_the_whole_tree_and_the_gateway_dies_by_it(
    host: StartHost, liveness: Liveness, name: str
) -> None:
    number = getattr(signal, name)
    with host(stubborn(liveness)) as one:
        wake(one, liveness)
        one.process.send_signal(number)
        assert one.process.wait(timeout=20) == -number
        assert liveness.alive() == 0


def test_a_hosts_close_term_kill_sequence_leaves_nothing(host: StartHost, liveness: Liveness) -> None:
    with host(stubborn(liveness)) as one:
        wake(one, liveness)
        one.process.stdin.close()
        one.process.send_signal(signal.SIGTERM)
        one.process.send_signal(signal.SIGTERM)
        one.process.wait(timeout=20)
        assert liveness.alive() == 0


def test_children_die_with_a_gateway_that_was_killed(host: StartHost, liveness: Liveness) -> None:
    with host(stubborn(liveness)) as one:
        wake(one, liveness)
        one.process.kill()
        liveness.wait_for_end()


def test_a_helper_without_a_parent_dies_with_a_gateway_that_was_killed(host: StartHost, liveness: Liveness) -> None:
    with host({"leaver": child("leaver", liveness.port)}) as one:
        one.initialize()
        assert one.call("leaver", "leave") == "left"
        liveness.expect(1)
        one.process.kill()
        liveness.wait_for_end()


def test_a_file_as_stdout_does_not_hold_up_a_signal(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "gateway.py")],
            stdin=subprocess.PIPE,
            stdout=stdout,
            env={**os.environ, "GATEWAY_HOME": str(tmp_path)},
        )
        assert process.stdin
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        while not (tmp_path / "out").read_bytes().endswith(b"\n"):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == -signal.SIGTERM
        process.stdin.close()


def test_closed_descriptors_are_answered_with_a_sentence(tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" "{PROJECT / "gateway.py"}" <&-'
    environ = {**os.environ, "GATEWAY_HOME": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", command], env=environ, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"stdin and stdout are needed" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("config", ["[" * 100_000, '{"mcpServers": {"github": {"env": []}, "kind": 5}}', "\ufffe"])
def test_no_config_kills_the_gateway(host: StartHost, tmp_path: Path, config: str) -> None:
    (tmp_path / "bad.json").write_text(config, encoding="utf-8")
    with host({}, GATEWAY_CONFIG=str(tmp_path / "bad.json")) as one:
        one.initialize()
        one.send({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "list_available_mcps"}})
        assert "context7" in one.receive()["result"]["content"][0]["text"]


@pytest.mark.parametrize("params", [{"name": []}, {"name": "list_available_mcps", "_meta": 5}, {"name": None}, {}])
def test_odd_requests_of_a_client_are_answered(host: StartHost, params: dict[str, Any]) -> None:
    with host({}) as one:
        one.initialize()
        one.send({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params})
        assert one.receive()["id"] == 9


def test_eof_with_a_call_under_way_to_a_child_that_reads_nothing(host: StartHost, liveness: Liveness) -> None:
    with host(stubborn(liveness)) as one:
        wake(one, liveness)
        os.kill(int(one.call("group", "pid")), signal.SIGSTOP)
        one.start_call("group", "hello", {"filler": "x" * 2_000_000})
        one.process.stdin.close()
        one.process.wait(timeout=20)
        assert liveness.alive() == 0


def test_eof_while_a_child_is_still_starting(host: StartHost, tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    with host({"late": child("slow", 60, mark)}) as one:
        one.initialize()
        one.start_call("late", "late")
        while not mark.exists():
            os.sched_yield()
        one.process.stdin.close()
        assert one.process.wait(timeout=20) == 0


def test_a_client_that_stops_reading_is_no_reason_to_stay(host: StartHost) -> None:
    with host({"kind": child("friendly")}, GATEWAY_MAX_RESULT_CHARS="0") as one:
        one.initialize()
        one.start_call("kind", "big", {"size": 5_000_000})
        assert one.process.stdout.read(1) == b"{"
        one.process.stdin.close()
        one.process.wait(timeout=20)


def test_what_children_print_never_reaches_the_wire(host: StartHost) -> None:
    with host({"noisy": child("noisy"), "kind": child("friendly")}) as one:
        one.initialize()
        assert one.call("noisy", "shout") == "heard"
        assert json.loads(one.call("kind", "echo", {"text": "hi"})) == {"text": "hi"}
        one.process.stdin.close()
        assert one.process.stdout.read() == b""
        assert one.process.stderr.read() == b""


def test_lines_that_are_no_messages_are_survived(host: StartHost) -> None:
    with host({"kind": child("friendly")}) as one:
        one.process.stdin.write(b"hello?\n\n[]\n\xff\xfe\n")
        one.initialize()
        one.process.stdin.write(b'{"jsonrpc": "2.0", "id": 7}\n{"nothing": 1}\n')
        assert json.loads(one.call("kind", "echo", {"text": "hi"})) == {"text": "hi"}


def test_big_answers_arrive_whole_and_in_one_line(host: StartHost) -> None:
    with host({"kind": child("friendly")}, GATEWAY_MAX_RESULT_CHARS="0") as one:
        one.initialize()
        assert one.call("kind", "big", {"size": 20_000_000}) == "x" * 20_000_000


def test_an_unknown_block_and_an_unknown_field_cross_the_wire(host: StartHost) -> None:
    with host({"kind": child("friendly")}) as one:
        one.initialize()
        one.start_call("kind", "strange")
        result = one.receive()["result"]
    assert result["content"][0] == {"type": "hologram", "depth": 3}
    assert result["content"][1] == {"type": "text", "text": "kept", "future": True}
    assert result["later"] == {"field": 1}


def test_half_a_surrogate_pair_crosses_the_wire(host: StartHost) -> None:
    with host({"kind": child("friendly")}) as one:
        one.initialize()
        assert one.call("kind", "half_pair") == "\ud83d"


def test_progress_and_cancellation_cross_the_wire(host: StartHost) -> None:
    with host({"kind": child("friendly")}) as one:
        one.initialize()
        parameters = {"mcp_name": "kind", "tool_name": "steps", "arguments": {"count": 2}}
        params = {"name": "call_mcp_tool", "arguments": parameters, "_meta": {"progressToken": "p"}}
        one.send({"jsonrpc": "2.0", "id": 50, "method": "tools/call", "params": params})
        heard = [one.receive() for _ in range(3)]
        assert [message["params"]["message"] for message in heard[:2]] == ["step 1", "step 2"]
        assert all(message["params"]["progressToken"] == "p" for message in heard[:2])
        assert heard[2]["id"] == 50
        slow = one.start_call("kind", "slow")
        one.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": slow}})
        while json.loads(one.call("kind", "cancelled")) == []:
            pass


def test_two_gateways_of_one_user_work_side_by_side(host: StartHost) -> None:
    entries = {"kind": child("friendly")}
    with host(entries) as one, host(entries) as two:
        for gateway in (one, two):
            gateway.initialize()
        assert len({json.loads(gateway.call("kind", "where"))["pid"] for gateway in (one, two)}) == 2


def test_a_home_that_cannot_be_written_costs_the_log_and_nothing_else(host: StartHost, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    config = tmp_path / "own.json"
    write_config(config, {"kind": child("friendly")})
    with host({}, GATEWAY_HOME=str(file / "home"), GATEWAY_CONFIG=str(config)) as one:
        one.initialize()
        assert json.loads(one.call("kind", "echo", {"text": "hi"})) == {"text": "hi"}
        one.process.stdin.close()
        assert b"going on without a log file" in one.process.stderr.read()


def test_whatever_is_in_the_home_folder_is_for_its_owner_alone(host: StartHost, tmp_path: Path) -> None:
    home, config = tmp_path / "a" / "home", tmp_path / "servers.json"
    write_config(config, {"kind": child("friendly")})
    with host({}, GATEWAY_HOME=str(home), GATEWAY_CONFIG=str(config), GATEWAY_MAX_RESULT_CHARS="1000") as one:
        one.initialize()
        assert '"id": "r1"' in one.call("kind", "big", {"size": 3000})
        found = [home, *home.rglob("*")]
        assert {"gateway.log", "kind.log", "r1.txt", "catalog.sqlite3"} <= {path.name for path in found}
        for path in found:
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_settings_that_cannot_be_read_are_named_and_the_default_stands(host: StartHost) -> None:
    with host({}, GATEWAY_INIT_TIMEOUT="soon") as one:
        one.initialize()
        one.send({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "list_available_mcps"}})
        assert "GATEWAY_INIT_TIMEOUT='soon' is not usable" in one.receive()["result"]["content"][0]["text"]


def test_the_log_level_decides_what_is_written(host: StartHost, tmp_path: Path) -> None:
    log = tmp_path / "home" / "logs" / "gateway.log"
    for level, written in (("WARNING", False), ("INFO", True)):
        with host({"kind": child("friendly")}, GATEWAY_LOG_LEVEL=level) as one:
            one.initialize()
            one.call("kind", "echo", {"text": "hi"})
            one.process.stdin.close()
            one.process.wait(timeout=20)
        assert ("kind is ready" in log.read_text()) is written


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_is_served_in_both_eras(tmp_path: Path, mode: str) -> None:
    write_config(tmp_path / "servers.json", {"kind": child("friendly")})
    server = StdioServerParameters(
        command=sys.executable, args=[str(PROJECT / "gateway.py")], env={"GATEWAY_HOME": str(tmp_path)}
    )
    with anyio.fail_after(60):
        async with Client(server, mode=mode) as client:
            assert client.session.protocol_version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
            parameters = {"mcp_name": "kind", "tool_name": "echo", "arguments": {"text": "hi"}}
            assert "hi" in text_of(await client.call_tool("call_mcp_tool", parameters))


def test_a_file_as_stdin_is_served_too(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    requests.write_text(json.dumps(INITIALIZE) + "\n")
    with requests.open() as stdin:
        done = subprocess.run(
            [sys.executable, str(PROJECT / "gateway.py")],
            stdin=stdin,
            capture_output=True,
            env={**os.environ, "GATEWAY_HOME": str(tmp_path / "home")},
            timeout=60,
            check=True,
        )
    assert json.loads(done.stdout)["result"]["serverInfo"]["name"] == "gateway"
