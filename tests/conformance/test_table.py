"""What crosses the gateway: features by servers and clients, each with their transports, with real servers.

Each cell is a test. A cell that cannot hold is skipped with the reason; the table is printed at the end of the run.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from features import FEATURES, Feature, Heard, Session
from mcp import Client, StdioServerParameters
from support import PROJECT, write_config

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
CLIENTS = {
    "2025 stdio": ("legacy", "stdio"),
    "2026 stdio": ("auto", "stdio"),
    "2025 HTTP": ("legacy", "http"),
    "2026 HTTP": ("auto", "http"),
}
SERVERS = {
    "everything stdio": "handshake",
    "everything SSE": "handshake",
    "everything HTTP": "handshake",
    "SDK 1 stdio": "handshake",
    "SDK 1 HTTP": "handshake",
    "SDK 2 stdio": "modern",
    "SDK 2 HTTP": "modern",
}
EVERYTHING: dict[str, tuple[str, dict[str, Any]]] = {
    "say": ("echo", {"message": "hello there"}),
    "picture": ("get-tiny-image", {}),
    "measure": ("get-structured-content", {"location": "Chicago"}),
    "fail": ("get-resource-reference", {"resourceType": "Text", "resourceId": -1}),
    "count": ("trigger-long-running-operation", {"duration": 0.3, "steps": 3}),
    "wait": ("trigger-long-running-operation", {"duration": 60, "steps": 1}),
    "note": ("toggle-simulated-logging", {}),
    "ask_name": ("trigger-elicitation-request", {}),
    "open_page": ("trigger-url-elicitation", {"url": "https://example.com/page"}),
    "sample": ("trigger-sampling-request", {"prompt": "Hello?"}),
    "roots": ("get-roots-list", {}),
    "touch": ("toggle-subscriber-updates", {}),
    "task": ("simulate-research-query", {"topic": "tasks"}),
}
OF_EVERYTHING = {
    "measured": "conditions",
    "failure": "resourceId",
    "prompt": "args-prompt",
    "refusal": "city",
    "argument": "city",
    "resource": "demo://resource/static/document/architecture.md",
    "contents": "Everything",
    "template": "demo://resource/dynamic/text/{resourceId}",
    "made": "demo://resource/dynamic/text/3",
    "completable": "completable-prompt",
    "completes": "department",
}
_PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    name: (name, {})
    for name in (
        *("picture", "measure", "fail", "wait", "was_cancelled", "note", "ask_name", "open_page"),
        *("sample", "roots", "touch"),
    )
}
OWN = {**_PLAIN, "say": ("say", {"text": "hello there"}), "count": ("count", {"to": 3})}
OF_OWN = {
    "measured": "degrees",
    "failure": "as it was told",
    "prompt": "greet",
    "refusal": "name",
    "argument": "name",
    "resource": "note://static/one",
    "contents": "a static note",
    "template": "note://by-name/{name}",
    "made": "note://by-name/Ada",
    "completable": "greet",
    "completes": "name",
}
CANNOT = {
    ("`list_changed`", "everything"): "its lists do not change while it runs",
    ("tasks are refused", "SDK 1"): "it has no tool that runs as a task",
    ("tasks are refused", "SDK 2"): "it has no tool that runs as a task",
}
"""Why a cell cannot hold: the server does not have what it would take."""


@dataclass(frozen=True)
class Behind:
    """The servers behind the gateway: entries by name."""

    entries: Mapping[str, Mapping[str, Any]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def listening(command: list[str], port: int, env: Mapping[str, str]) -> Generator[None]:
    """A server over HTTP, from when it listens."""
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, command
            assert time.monotonic() < deadline, command
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def behind(npm: Path, sdk_1: str) -> Generator[Behind]:
    everything = str(npm / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js")
    one, two = str(HERE / "servers" / "one.py"), str(HERE / "servers" / "two.py")
    sse, http, first, second = (free_port() for _ in range(4))
    with (
        listening(["node", everything, "sse"], sse, {"PORT": str(sse)}),
        listening(["node", everything, "streamableHttp"], http, {"PORT": str(http)}),
        listening([sdk_1, one, str(first)], first, {}),
        listening([sys.executable, two, str(second)], second, {}),
    ):
        yield Behind(
            {
                "everything-stdio": {"command": "node", "args": [everything]},
                "everything-SSE": {"type": "sse", "url": f"http://127.0.0.1:{sse}/sse"},
                "everything-HTTP": {"url": f"http://127.0.0.1:{http}/mcp"},
                "SDK-1-stdio": {"command": sdk_1, "args": [one]},
                "SDK-1-HTTP": {"url": f"http://127.0.0.1:{first}/mcp"},
                "SDK-2-stdio": {"command": sys.executable, "args": [two]},
                "SDK-2-HTTP": {"url": f"http://127.0.0.1:{second}/mcp"},
            }
        )


@asynccontextmanager
async def client_of(home: Path, mode: str, transport: str, heard: Heard) -> AsyncGenerator[Client]:
    """A client of a gateway that has a home of its own."""
    env = {"GATEWAY_HOME": str(home), "PATH": os.environ["PATH"], "GATEWAY_CONFIG": str(home / "servers.json")}
    gateway = [str(PROJECT / "gateway.py")]
    callbacks: dict[str, Any] = {
        "sampling_callback": heard.sample,
        "elicitation_callback": heard.elicit,
        "list_roots_callback": heard.list_roots,
        "logging_callback": heard.log,
        "message_handler": heard.notice,
    }
    if transport == "stdio":
        parameters = StdioServerParameters(command=sys.executable, args=gateway, env=env)
        async with Client(parameters, mode=mode, cache=None, **callbacks) as client:
            yield client
        return
    port = free_port()
    command = [sys.executable, *gateway, "serve", "--http", f"127.0.0.1:{port}"]
    with listening(command, port, env):
        async with Client(f"http://127.0.0.1:{port}/mcp", mode=mode, cache=None, **callbacks) as client:
            yield client


def names_of(server: str) -> dict[str, str]:
    """What the server calls its things, as the gateway names them."""
    names = dict(OF_EVERYTHING if server.startswith("everything") else OF_OWN)
    if server.startswith("SDK-2"):
        names["refusal"] = "Internal server error"  # it masks its own bugs
    for prompt in ("prompt", "completable"):
        names[prompt] = f"{server}__{names[prompt]}"
    return names


async def try_all(home: Path, server: str, mode: str, transport: str) -> dict[str, Exception | None]:
    """What came of each feature."""
    heard = Heard()
    outcomes: dict[str, Exception | None] = {}
    async with client_of(home, mode, transport, heard) as client:
        own = {**OWN, "grow": ("grow", {"name": f"grown-{mode}-{transport}"})}
        tools = EVERYTHING if server.startswith("everything") else own
        session = Session(client, heard, server, tools, names_of(server), mode == "auto")
        for name, feature in FEATURES.items():
            if reason(name, server.replace("-", " ")) is None:
                outcomes[name] = await outcome(feature, session)
    return outcomes


async def outcome(feature: Feature, session: Session) -> Exception | None:
    try:
        with anyio.fail_after(40):
            await feature(session)
    except Exception as exc:  # noqa: BLE001 - the cell's own test raises it
        return exc
    return None


def reason(feature: str, server: str) -> str | None:
    """Why a cell cannot hold."""
    return next((why for (row, of), why in CANNOT.items() if row == feature and server.startswith(of)), None)


@pytest.fixture(scope="module")
def told(behind: Behind, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of each feature, by server and client, each tried once."""
    known: dict[tuple[str, str], dict[str, Exception | None]] = {}

    def tell(server: str, client: str) -> dict[str, Exception | None]:
        if (server, client) not in known:
            home = tmp_path_factory.mktemp("home")
            name = server.replace(" ", "-")
            # The server has been started before: completions are offered by what the catalog knows.
            write_config(home / "servers.json", {name: behind.entries[name]})
            env = {**os.environ, "GATEWAY_HOME": str(home)}
            check = [sys.executable, str(PROJECT / "gateway.py"), "refresh", name]
            subprocess.run(check, env=env, check=True, capture_output=True, timeout=120)
            known[server, client] = anyio.run(try_all, home, name, *CLIENTS[client])
        return known[server, client]

    return tell


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
def test_cell(server: str, client: str, feature: str, told: Any, record_property: Any) -> None:
    record_property("cell", (feature, server, client))
    why = reason(feature, server)
    if why:
        pytest.skip(why)
    failed = told(server, client)[feature]
    if failed is not None:
        raise failed
