"""The real Claude Code as the client, isolated and offline, with a scripted model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import PROJECT, write_config

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

ALONE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]


@pytest.fixture(scope="module")
def told(npm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Claude Code said and sent; see claude_run.py."""
    claude = npm / "@anthropic-ai" / "claude-code-linux-x64" / "claude"
    if not claude.exists():
        pytest.skip("Claude Code has no program for this system here")
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], check=False).returncode:
        pytest.skip("a network namespace cannot be made here, and the program must not reach the network")
    home = tmp_path_factory.mktemp("claude")
    server = npm / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
    write_config(home / "servers.json", {"everything": {"command": "node", "args": [str(server)]}})
    script = Path(__file__).with_name("claude_run.py")
    gateway = [sys.executable, str(PROJECT / "gateway.py")]
    done = subprocess.run(
        [*ALONE, sys.executable, str(script), str(claude), str(home), *gateway],
        env={"PATH": os.environ["PATH"], "GATEWAY_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    return json.loads(done.stdout)


def tool_results(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers that the model was given, in the order of its calls."""
    last = told["requests"][-1]["messages"]
    blocks = [block for message in last if isinstance(message["content"], list) for block in message["content"]]
    return [block for block in blocks if block["type"] == "tool_result"]


def test_it_is_added_and_connects(told: dict[str, Any]) -> None:
    assert "Added stdio MCP server gateway" in told["added"]
    assert "Connected" in told["listed"]


def test_the_first_request_carries_the_three_tools_and_no_more_of_ours(told: dict[str, Any]) -> None:
    names = {tool["name"] for tool in told["requests"][0]["tools"] if tool["name"].startswith("mcp__")}
    tools = ("list_available_mcps", "load_mcp_tools", "call_mcp_tool")
    assert names == {f"mcp__gateway__{name}" for name in tools}


def test_the_model_reads_the_names_of_the_servers(told: dict[str, Any]) -> None:
    assert "All MCP servers of this user stand behind this gateway." in json.dumps(told["requests"][0])


def test_the_model_lists_loads_and_calls(told: dict[str, Any]) -> None:
    listed, loaded, image, total = tool_results(told)
    assert "- everything" in json.dumps(listed)
    assert "get-sum(a: number, b: number)" in json.dumps(loaded)
    (picture,) = [block for block in image["content"] if block["type"] == "image"]
    assert picture["source"]["media_type"] == "image/png"
    assert "The sum of 19 and 23 is 42." in json.dumps(total)
    assert not any(result.get("is_error") for result in (listed, loaded, image, total))
    assert '"result":"All done."' in told["worked"]
