"""`serve --http`: who is let in, and that clients never meet."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from support import PROJECT, Entries, Start, child, text_of, write_config

from mcp_gateway.address import Address, AddressError, parse_address
from mcp_gateway.caller import Caller
from mcp_gateway.caller import Client as Peer

pytestmark = pytest.mark.anyio
FORM: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"message": "Who?", "requestedSchema": {"type": "object", "properties": dict[str, Any]()}},
}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@contextmanager
def serving(
    home: Path, entries: Entries, *options: str, host: str = "127.0.0.1", **variables: str
) -> Generator[tuple[int, subprocess.Popen[bytes]]]:
    """A gateway over HTTP as a process of its own; its port and itself."""
    write_config(home / "servers.json", entries)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    env = {"PATH": os.environ["PATH"], "GATEWAY_HOME": str(home), **variables}
    command = [sys.executable, str(PROJECT / "gateway.py"), "serve", "--http", f"{host}:{port}", *options]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith(b"Serving MCP at http://"), line + process.stderr.read()
        wait_for(port, host)
        yield port, process
    finally:
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
        if process.stderr is not None:
            process.stderr.close()


def wait_for(port: int, host: str) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection((host, port), 1):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@asynccontextmanager
async def client(port: int, mode: str = "legacy", path: str = "/mcp", **callbacks: Any) -> AsyncGenerator[Client]:
    """A client of that gateway."""
    async with Client(f"http://127.0.0.1:{port}{path}", mode=mode, **callbacks) as connected:
        with anyio.fail_after(60):
            yield connected


async def call(connected: Client, tool: str, arguments: object = None) -> str:
    """The text of a call of the server `asks`."""
    parameters: dict[str, Any] = {"mcp_name": "asks", "tool_name": tool, "arguments": arguments or {}}
    return text_of(await connected.call_tool("call_mcp_tool", parameters))


@pytest.mark.parametrize(("mode", "paths"), [("legacy", ("/mcp", "/mcp")), ("auto", ("/mcp/one", "/mcp/two"))])
async def test_each_client_has_servers_of_its_own(tmp_path: Path, mode: str, paths: tuple[str, str]) -> None:
    with serving(tmp_path, {"asks": child("asker")}) as (port, _):
        async with client(port, mode, paths[0]) as one, client(port, mode, paths[1]) as two:
            first, second = await call(one, "pid"), await call(two, "pid")
            assert first != second
            assert await call(one, "pid") == first


async def test_clients_that_come_without_end_do_not_fill_the_machine(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.pool._MOST_OWN", 3)
    async with start({"asks": child("asker")}) as running:
        for number in range(6):
            await running.pool.knowledge("asks", Caller(Peer(f"client-{number}")), fresh=True)
        runs = [run for number in range(6) for run in running.pool.runs_of(Peer(f"client-{number}"))]
        assert 0 < len(runs) <= 3
        assert [run.client.key for run in runs][-1] == "client-5"


async def test_a_shared_server_is_one_for_all(tmp_path: Path) -> None:
    with serving(tmp_path, {"asks": child("asker", shared=True)}) as (port, _):
        async with client(port) as one, client(port, "auto") as two:
            assert await call(one, "pid") == await call(two, "pid")


async def test_clients_never_see_each_others_questions(tmp_path: Path) -> None:
    asked: list[str] = []

    def person(name: str) -> Callable[..., Any]:
        async def answer(_: ClientRequestContext, __: types.ElicitRequestParams) -> types.ElicitResult:
            asked.append(name)
            return types.ElicitResult(action="accept", content={"name": name})

        return answer

    with serving(tmp_path, {"asks": child("asker")}) as (port, _):
        async with (
            client(port, elicitation_callback=person("Ada")) as ada,
            client(port, elicitation_callback=person("Bob")) as bob,
            client(port, "auto", elicitation_callback=person("Cy")) as cy,
        ):
            for name, connected in (("Ada", ada), ("Bob", bob), ("Cy", cy)):
                assert name in await call(connected, "ask", FORM)
    assert asked == ["Ada", "Bob", "Cy"]


async def test_a_parked_call_is_of_no_use_to_another_client(tmp_path: Path) -> None:
    async def person(_: ClientRequestContext, __: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={})

    parameters = {"mcp_name": "asks", "tool_name": "ask", "arguments": FORM}
    with serving(tmp_path, {"asks": child("asker")}) as (port, _):
        async with (
            client(port, "auto", "/mcp/one", elicitation_callback=person) as one,
            client(port, "auto", "/mcp/two", elicitation_callback=person) as two,
        ):
            asked = await one.session.call_tool("call_mcp_tool", parameters, allow_input_required=True)
            assert isinstance(asked, types.InputRequiredResult)
            answer: types.InputResponse = types.ElicitResult(action="accept", content={})
            answers: types.InputResponses = dict.fromkeys(asked.input_requests or {}, answer)
            stolen = await two.session.call_tool(
                "call_mcp_tool", parameters, input_responses=answers, request_state=asked.request_state
            )
            assert "is not waiting for it" in text_of(stolen)
            own = await one.session.call_tool(
                "call_mcp_tool", parameters, input_responses=answers, request_state=asked.request_state
            )
            assert json.loads(text_of(own))["action"] == "accept"


async def test_what_ran_for_a_client_stops_when_it_leaves(tmp_path: Path) -> None:
    with serving(tmp_path, {"asks": child("asker")}) as (port, _):
        async with client(port) as one:
            pid = int(await call(one, "pid"))
            os.kill(pid, 0)
        with anyio.fail_after(20):
            while Path(f"/proc/{pid}").exists():
                await anyio.sleep(0.02)


def test_a_token_is_wanted_where_one_is_set(tmp_path: Path) -> None:
    with serving(tmp_path, {}, GATEWAY_HTTP_TOKEN="let-me-in") as (port, _):
        url = f"http://127.0.0.1:{port}/mcp"
        assert httpx2.post(url, json=HELLO, headers=ACCEPT).status_code == 401
        wrong = {**ACCEPT, "Authorization": "Bearer let-me-out"}
        assert httpx2.post(url, json=HELLO, headers=wrong).headers["www-authenticate"] == "Bearer"
        right = {**ACCEPT, "Authorization": "Bearer let-me-in"}
        assert httpx2.post(url, json=HELLO, headers=right).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "gateway.example:80"}, 200),
    ],
)
def test_names_that_are_not_its_own_are_turned_away(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    with serving(tmp_path, {}, "--allow-host", "gateway.example") as (port, _):
        answer = httpx2.post(f"http://127.0.0.1:{port}/mcp", json=HELLO, headers={**ACCEPT, **headers})
        assert answer.status_code == status


def test_another_address_needs_a_token(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "GATEWAY_HOME": str(tmp_path)}
    command = [sys.executable, str(PROJECT / "gateway.py"), "serve", "--http", "0.0.0.0:0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "set GATEWAY_HTTP_TOKEN to a secret" in done.stderr
    with serving(tmp_path, {}, host="0.0.0.0", GATEWAY_HTTP_TOKEN="let-me-in") as (port, _):
        headers = {**ACCEPT, "Authorization": "Bearer let-me-in"}
        assert httpx2.post(f"http://127.0.0.1:{port}/mcp", json=HELLO, headers=headers).status_code == 200


async def test_a_signal_ends_it_with_all_servers_while_streams_are_open(tmp_path: Path) -> None:
    with serving(tmp_path, {"asks": child("asker")}) as (port, process):
        async with client(port) as one:
            pid = int(await call(one, "pid"))
            process.terminate()
            while process.poll() is None:
                await anyio.sleep(0.02)
        assert not Path(f"/proc/{pid}").exists()


def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, str(PROJECT / "gateway.py"), "serve", "--http", str(taken.getsockname()[1])]
        env = {"PATH": os.environ["PATH"], "GATEWAY_HOME": str(tmp_path)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1:" in done.stderr


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("8080", "127.0.0.1", 8080), (":1", "127.0.0.1", 1), ("[::1]:2", "::1", 2), ("example.com:3", "example.com", 3)],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "localhost", "localhost:http", "h:70000"])
def test_what_is_no_address_is_said_to_be_none(text: str) -> None:
    with pytest.raises(AddressError, match="is no address; write HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)]
)
def test_only_loopback_is_local(host: str, *, local: bool) -> None:
    assert Address(host, 1).local is local


def test_a_url_is_what_a_client_is_given() -> None:
    assert Address("::1", 80).url == "http://[::1]:80/mcp"
