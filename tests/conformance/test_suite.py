"""The official conformance suite: its clients' scenarios against the child side, its servers' against `serve`.

What fails, and why, is written down here; a scenario that fails beside these, or passes against them, fails the test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from support import PROJECT, write_config
from test_table import free_port, listening

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
REVISIONS = ("2025-11-25", "2026-07-28")
_BEHIND = "the tools of a server stand behind `load_mcp_tools`, not in `tools/list`"
_TASKS = "tasks are not carried"
_EXTENSION = "an extension of authorization that the SDK does not have"

CLIENT_FAILURES = {
    "auth/enterprise-managed-authorization": _EXTENSION,
    "auth/dpop": _EXTENSION,
    "auth/dpop-nonce": _EXTENSION,
    "auth/wif-jwt-bearer": _EXTENSION,
    "json-schema-2020-12-preservation": "it compares what a client says that it has read; ours answers a model",
}
"""None of these counts for the suite: extensions, and one that is younger than the revisions."""

SERVER_FAILURES = {
    "json-schema-2020-12": _BEHIND,
    "http-custom-header-server-validation": _BEHIND,
    "server-sse-polling": "a stream cannot be taken up again: `serve` keeps no events",
    **dict.fromkeys(
        (
            "tasks-lifecycle",
            "tasks-capability-negotiation",
            "tasks-wire-fields",
            "tasks-request-state-removal",
            "tasks-mrtr-input",
            "tasks-request-headers",
            "tasks-dispatch-and-envelope",
            "tasks-required-task-error",
            "tasks-mrtr-composition",
        ),
        _TASKS,
    ),
}
"""None of these counts for the suite: extensions, and what its own example does not pass yet."""


def verdicts(output: str) -> dict[str, bool]:
    """What the suite says of each scenario at its end."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    found = re.findall(r"^([✓✗]) (\S+): \d+ passed", plain, re.MULTILINE)
    assert found, plain[-3000:]
    return {name: sign == "✓" for sign, name in found}


def run(suite: list[str], *arguments: str) -> str:
    """All that the suite prints; its exit code counts what does not count."""
    done = subprocess.run([*suite, *arguments], capture_output=True, text=True, timeout=600, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("revision", REVISIONS)
def test_client_scenarios(suite: list[str], revision: str) -> None:
    command = f"{sys.executable} {HERE / 'suite_client.py'}"
    found = verdicts(run(suite, "client", "--command", command, "--requirements", revision))
    assert len(found) > 20
    assert {name for name, passed in found.items() if not passed} == set(CLIENT_FAILURES)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The URL of a gateway whose server has what the suite wants, under the names that the suite uses."""
    home = tmp_path_factory.mktemp("home")
    write_config(
        home / "servers.json", {"suite": {"command": sys.executable, "args": [str(HERE / "servers/suite.py")]}}
    )
    env = {"GATEWAY_HOME": str(home)}
    gateway = [sys.executable, str(PROJECT / "gateway.py")]
    subprocess.run([*gateway, "refresh", "suite"], env={**os.environ, **env}, check=True, capture_output=True)
    port, front = free_port(), free_port()
    target = f"http://127.0.0.1:{port}/mcp"
    renamed = [sys.executable, str(HERE / "renamed.py"), str(front), target, "suite"]
    with (
        listening([*gateway, "serve", "--http", f"127.0.0.1:{port}"], port, env),
        listening(renamed, front, {}),
    ):
        yield f"http://localhost:{front}/mcp"


@pytest.mark.parametrize("revision", REVISIONS)
def test_server_scenarios(suite: list[str], served: str, revision: str) -> None:
    found = verdicts(run(suite, "server", "--url", served, "--requirements", revision))
    assert len(found) > 30
    assert {name for name, passed in found.items() if not passed} == set(SERVER_FAILURES) & set(found)
