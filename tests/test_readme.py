"""What the README says is so: its configs are valid, its commands run, its table is backed by tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import PROJECT, write_config

from mcp_gateway.registry import parse_entry

sys.path.insert(0, str(PROJECT / "tests" / "conformance"))

from features import FEATURES
from test_table import SERVERS, reason

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.mark.parametrize("block", blocks("json"))
def test_every_config_is_valid(block: str) -> None:
    document: dict[str, Any] = json.loads(block)
    (entries,) = document.values()
    assert entries
    for name, entry in entries.items():
        made = parse_entry("own" if name == "gateway" else name, entry, {"TICKETS_TOKEN": "value"})
        assert made.usable or made.disabled
        assert set(made.unknown) <= {"alwaysLoad"}


@pytest.mark.parametrize("command", [line for line in COMMANDS if "gateway.py" in line])
def test_every_command_of_the_gateway_runs(command: str, tmp_path: Path) -> None:
    shop = str(PROJECT / "examples" / "bookshop.py")
    write_config(tmp_path / "servers.json", {"bookshop": {"command": sys.executable, "args": [shop]}})
    python, *words = shlex.split(command)
    assert python == ".venv/bin/python"
    environ = {**os.environ, "GATEWAY_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *words], cwd=PROJECT, env=environ, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_script_is_there_and_is_what_ci_runs() -> None:
    scripts = [line for line in COMMANDS if "gateway.py" not in line]
    assert sorted(scripts) == ["python3 scripts/check.py", "python3 scripts/test.py", "python3 scripts/try.py"]
    ci = (PROJECT / ".ci" / "run").read_text()
    assert all(script in ci and (PROJECT / script.split()[1]).exists() for script in scripts)


def test_the_table_is_what_ci_prints() -> None:
    header, _, *rows = re.findall(r"^\|(.*)\|$", README[README.index("| | everything") :], re.MULTILINE)
    servers = [cell.strip() for cell in header.split("|")][1:]
    assert servers == list(SERVERS)
    cells = {row.split("|")[0].strip(): [cell.strip() for cell in row.split("|")[1:]] for row in rows}
    assert set(cells) >= set(FEATURES)
    for feature in FEATURES:
        assert cells[feature] == ["-" if reason(feature, server) else "✓" for server in servers]


def test_it_can_be_read_in_one_go() -> None:
    assert 80 <= len(README.splitlines()) <= 150
