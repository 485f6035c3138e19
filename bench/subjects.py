"""What the benchmarks compare: a direct connection, this gateway, and peers that can be installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import StdioServerParameters

PROJECT = Path(__file__).resolve().parent.parent
CHILD = [str(PROJECT / "bench" / "child.py")]
KEPT = PROJECT / ".venv" / "bench"
"""Where peers are installed, each in an environment of its own."""

_FASTMCP = """
import json, sys
from fastmcp.server import create_proxy
from fastmcp.server.transforms.search import BM25SearchTransform
proxy = create_proxy(json.load(open(sys.argv[1])))
proxy.add_transform(BM25SearchTransform())
proxy.run(show_banner=False)
"""

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One way to reach the bench's server.

    Attributes:
        server: How to start it.
        call: Its tool and that tool's parameters, for a call of the bench's tool `echo`.
    """

    name: str
    server: StdioServerParameters
    call: Callable[[Arguments], tuple[str, Arguments]]


def empty(home: Path) -> Subject:
    """An `MCPServer` without tools: what starting Python and the SDK costs by itself."""
    script = "from mcp.server import MCPServer; MCPServer('empty').run()"
    return Subject("empty MCPServer", _server(home, sys.executable, "-c", script), lambda arguments: ("", arguments))


def direct(home: Path) -> Subject:
    """The client talks to the server itself."""
    return Subject("direct", _server(home, sys.executable, *CHILD), lambda arguments: ("echo", arguments))


def gateway(home: Path, servers: int = 1) -> Subject:
    """This gateway, with so many servers configured."""
    _config(home / "servers.json", servers)

    def call(arguments: Arguments) -> tuple[str, Arguments]:
        return "call_mcp_tool", {"mcp_name": "bench", "tool_name": "echo", "arguments": arguments}

    return Subject("this gateway", _server(home, sys.executable, str(PROJECT / "gateway.py")), call)


def peers(home: Path) -> list[Subject]:
    """Those peers that can be installed here."""
    config = home / "mcp.json"
    _config(config, 1)
    lazy = home / "lazy-mcp" / "servers.json"
    lazy.parent.mkdir(parents=True, exist_ok=True)
    entry = {"name": "bench", "description": "bench", "command": [sys.executable, *CHILD]}
    lazy.write_text(json.dumps({"servers": [entry]}), encoding="utf-8")
    made = (
        _peer(
            home,
            "fastmcp==4.1.2",
            ["python", "-c", _FASTMCP, str(config)],
            lambda given: ("call_tool", {"name": "echo", "arguments": given}),
        ),
        _peer(
            home,
            "pmcp==3.0.0",
            ["pmcp", "-q", "-c", str(config), "--lock-dir", str(home / "lock")],
            lambda given: ("gateway.invoke", {"tool_id": "bench::echo", "arguments": given}),
        ),
        _peer(
            home,
            "lazy-mcp==2.7.2",
            ["lazy-mcp"],
            lambda given: ("invoke_command", {"server": "bench", "command_name": "echo", "parameters": given}),
        ),
        _peer(
            home,
            "mcp-compressor==0.38.2",
            ["mcp-compressor", "--config", str(config)],
            lambda given: ("invoke_tool", {"tool_name": "echo", "tool_input": given}),
        ),
    )
    return [subject for subject in made if subject is not None]


def _peer(
    home: Path, requirement: str, command: list[str], call: Callable[[Arguments], tuple[str, Arguments]]
) -> Subject | None:
    """A peer in an environment of its own; None where it cannot be installed."""
    folder = KEPT / requirement
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    stamp = folder / "installed"
    if not stamp.exists():
        venv.create(folder, with_pip=True)
        install = [str(scripts / "python"), "-m", "pip", "install", "--quiet", requirement]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            print(f"{requirement} could not be installed", file=sys.stderr)
            return None
        stamp.touch()
    return Subject(requirement.replace("==", " "), _server(home, str(scripts / command[0]), *command[1:]), call)


def _server(home: Path, command: str, *words: str) -> StdioServerParameters:
    env = {"HOME": str(home), "GATEWAY_HOME": str(home), "XDG_CONFIG_HOME": str(home), "PATH": os.environ["PATH"]}
    env["GATEWAY_MAX_RESULT_CHARS"] = "0"  # a big result is to cross whole
    return StdioServerParameters(command=command, args=list(words), env=env)


def _config(file: Path, servers: int) -> None:
    """The bench's server, and others that are never used."""
    entry = {"command": sys.executable, "args": CHILD}
    others = {f"unused-{number}": entry for number in range(1, servers)}
    file.write_text(json.dumps({"mcpServers": {"bench": entry, **others}}), encoding="utf-8")
