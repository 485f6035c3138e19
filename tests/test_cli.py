"""The gateway at a terminal: as a person and as a script use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import PROJECT, Liveness, child, write_config

import mcp_gateway

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `gateway.py` with these words, over these entries: `run(entries, "list")`."""

    def command(entries: dict[str, Any], *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        write_config(tmp_path / "servers.json", entries)
        return subprocess.run(
            [sys.executable, str(PROJECT / "gateway.py"), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "GATEWAY_HOME": str(tmp_path), **environ},
            timeout=100,
            check=False,
        )

    return command


def test_the_version(run: Run) -> None:
    done = run({}, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{mcp_gateway.__version__}\n", "")


def test_help_names_the_commands(run: Run) -> None:
    done = run({}, "--help")
    assert done.returncode == 0
    assert all(f"\n  {name}" in done.stdout for name in ("list", "load", "call", "check"))


def test_list(run: Run) -> None:
    done = run({"kind": child("friendly", description="For tests")}, "list")
    assert done.returncode == 0
    assert "- kind: For tests" in done.stdout
    assert "github lacks GITHUB_PERSONAL_ACCESS_TOKEN" in done.stdout


def test_list_for_scripts(run: Run) -> None:
    listed = json.loads(run({"off": {"disabled": True}}, "list", "--json").stdout)
    by_name = {line["name"]: line for line in listed}
    assert by_name["off"]["disabled"] is True
    assert by_name["github"]["lacks"] == ["GITHUB_PERSONAL_ACCESS_TOKEN"]


def test_load(run: Run) -> None:
    entries = {"kind": child("friendly")}
    assert "echo(text: string" in run(entries, "load", "kind").stdout
    assert '"text":{"type":"string"}' in run(entries, "load", "kind", "echo").stdout
    loaded = json.loads(run(entries, "load", "kind", "--json").stdout)
    assert loaded["instructions"] == "Be kind to this server."
    assert loaded["tools"][0]["inputSchema"]["required"] == ["text"]


def test_call(run: Run) -> None:
    done = run({"kind": child("friendly")}, "call", "kind", "echo", '{"text": "hi"}')
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"text": "hi"}


def test_call_for_scripts_prints_the_whole_result(run: Run) -> None:
    result = json.loads(run({"kind": child("friendly")}, "call", "kind", "rich", "--json").stdout)
    assert [block["type"] for block in result["content"]] == ["text", "image", "audio", "resource_link", "resource"]
    assert result["structuredContent"]["answer"] == 42


def test_call_for_a_person_names_what_is_no_text(run: Run) -> None:
    done = run({"kind": child("friendly")}, "call", "kind", "rich")
    assert "words\n[image image/png, " in done.stdout
    assert "[resource_link file:///a.txt; --json shows it]" in done.stdout


def test_progress_goes_to_stderr(run: Run) -> None:
    done = run({"kind": child("friendly")}, "call", "kind", "steps", '{"count": 2}')
    assert done.stdout == "done\n"
    assert done.stderr == "1/2 step 1\n2/2 step 2\n"


def test_a_block_that_is_none_is_named(run: Run) -> None:
    done = run({"kind": child("friendly")}, "call", "kind", "odd_block")
    assert (done.returncode, done.stdout) == (0, "['a plain string'; --json shows it]\nkept\n")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("call", "kind", "fails", '{"text": ""}'), 1, "it went wrong"),
        (("call", "kind", "refuses"), 1, "error -32050: refused"),
        (("call", "kind", "none"), 1, 'has no tool "none"'),
        (("call", "none", "none"), 1, 'There is no server "none"'),
        (("load", "none"), 1, 'There is no server "none"'),
        (("call", "kind", "echo", "[1]"), 2, "not a JSON object: [1]"),
        (("call", "kind"), 2, "Missing argument"),
        (("dance",), 2, "No such command"),
        (("list", "--loud"), 2, "No such option"),
    ],
)
def test_exit_codes_tell_a_failure_from_a_wrong_command_line(
    run: Run, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = run({"kind": child("friendly")}, *arguments)
    assert done.returncode == code
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_what_is_ready_and_what_is_wrong(run: Run) -> None:
    entries = {
        "kind": child("friendly"),
        "dying": child("dying", "start"),
        "none": {"command": "no-such-program"},
        "listless": child("listless", -32603),
        "short": child("friendly", env={"KEY": "${NO_SUCH}"}),
    }
    done = run(entries, "check", *entries, "unknown")
    assert done.returncode == 1
    assert "ok   kind: ready with 19 tools in " in done.stdout
    assert "FAIL dying: it did not start: ended with exit code 3\n" in done.stdout
    assert "no API key given" in done.stdout
    assert 'FAIL none: it did not start: the command "no-such-program" was not found (install it' in done.stdout
    assert "FAIL listless: it starts, but its tools cannot be listed: error -32603" in done.stdout
    assert "(lacks NO_SUCH: calls may fail)" in done.stdout
    assert 'FAIL unknown: There is no server "unknown"' in done.stdout


def test_check_for_scripts(run: Run) -> None:
    done = run({"kind": child("friendly")}, "check", "kind", "--json")
    (verdict,) = json.loads(done.stdout)
    assert done.returncode == 0
    assert (verdict["name"], verdict["ok"], verdict["tools"]) == ("kind", True, 19)


def test_refresh_fills_the_catalog_and_stats_tell_of_calls(run: Run) -> None:
    entries = {"kind": child("friendly"), "dying": child("dying", "start")}
    done = run(entries, "refresh", *entries)
    assert done.returncode == 1
    assert "ok   kind: ready with 19 tools" in done.stdout
    assert "FAIL dying" in done.stdout
    assert "(19 tools)" in run(entries, "list").stdout
    for tool in ("where", "where", "fails"):
        run(entries, "call", "kind", tool)
    figures = json.loads(run(entries, "stats", "--json").stdout)
    by_name = {line["tool"]: line for line in figures["tools"]}
    assert (by_name["where"]["calls"], by_name["where"]["errors"]) == (2, 0)
    assert (by_name["fails"]["calls"], by_name["fails"]["errors"]) == (1, 1)
    assert 0 < by_name["where"]["p50"] <= by_name["where"]["p95"]
    assert figures["startup_tokens"]["direct"] > figures["startup_tokens"]["gateway"] > 0
    shown = run(entries, "stats").stdout
    assert "p95, ms" in shown
    assert "  kind, directly\n" in shown
    assert shown.splitlines()[-1].endswith("  the gateway")
    assert set(figures["startup_tokens"]["direct_by_server"]) == {"kind"}


def test_a_start_is_waited_for_as_long_as_it_goes_on(run: Run, tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    done = run({"late": child("slow", 1, mark)}, "call", "late", "late", GATEWAY_INIT_TIMEOUT="0.2")
    assert done.stdout == "better late\n"
    assert mark.read_text().count("start") == 1


def test_secrets_are_replaced_on_the_command_line(run: Run) -> None:
    script = "import os, sys; sys.stderr.write('bad key ' + os.environ['API_TOKEN']); sys.exit(1)"
    entry = {"command": sys.executable, "args": ["-c", script], "env": {"API_TOKEN": "very-secret-value"}}
    done = run({"leaky": entry}, "check", "leaky")
    assert "bad key [API_TOKEN]" in done.stdout
    assert "very-secret-value" not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_command_leaves_nothing_behind(tmp_path: Path, liveness: Liveness, name: str) -> None:
    write_config(tmp_path / "servers.json", {"kind": child("stubborn", liveness.port, "session")})
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "gateway.py"), "call", "kind", "wait"],
        env={**os.environ, "GATEWAY_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    liveness.expect(3)
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=20) != 0
    liveness.wait_for_end()


def test_serving_loads_nothing_of_the_command_line() -> None:
    script = (
        "import sys, gateway; print([name for name in sys.modules if name.split('.')[0] in ('typer', 'jsonschema')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout == "[]\n"
