"""Log-ins at a real authorization server on loopback: by browser and by hand, refresh, races, revocation."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from pydantic import AnyHttpUrl
from support import PROJECT, Start, write_config

from mcp_gateway.browser import LoginError, Ways, log_in, log_out
from mcp_gateway.registry import Entry, parse_entry
from mcp_gateway.tokens import TokenFile

pytestmark = [pytest.mark.anyio, pytest.mark.real]


class Server:
    """A server that wants a log-in."""

    def __init__(self, life: int) -> None:
        """Its access tokens live so long, in seconds."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self.url = f"{self.base}/mcp"
        script = Path(__file__).with_name("authorization_server.py")
        self.process = subprocess.Popen([sys.executable, str(script), str(port), str(life)])
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx2.get(f"{self.base}/state")
            except httpx2.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    @property
    def counted(self) -> dict[str, int]:
        """What has happened there."""
        return httpx2.get(f"{self.base}/state").json()

    def revoke(self, *, everything: bool = False) -> None:
        """End the access tokens, or the refresh tokens as well."""
        assert httpx2.post(f"{self.base}/end{'?all=1' if everything else ''}").status_code == 204

    @property
    def entry(self) -> Entry:
        """It as a person would write it."""
        return parse_entry("guarded", {"url": self.url}, {})


@pytest.fixture
def server() -> Generator[Server]:
    made = Server(3600)
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture
def hasty() -> Generator[Server]:
    """One whose access tokens end at once."""
    made = Server(0)
    yield made
    made.process.kill()
    made.process.wait()


def browse(url: str) -> bool:
    """A browser whose user agrees to everything."""
    threading.Thread(target=lambda: httpx2.get(url, follow_redirects=True), daemon=True).start()
    return True


async def by_browser(server: Server, home: Path) -> str:
    """Log in as a person with a browser does."""
    return await log_in(server.entry, home, Ways(lambda _: None, None, browse))


async def test_an_unauthorized_call_says_which_command_to_run(start: Start, server: Server) -> None:
    async with start({"guarded": {"url": server.url}}) as running:
        said = await running.error("guarded", "secret")
    assert "answered 401 Unauthorized: it wants a log-in; a person runs: python gateway.py login guarded" in said
    assert server.counted.get("registered", 0) == 0, "nothing is registered for a log-in that nobody asked for"


async def test_a_log_in_is_used_at_the_next_call_of_a_gateway_that_runs(
    start: Start, server: Server, tmp_path: Path
) -> None:
    async with start({"guarded": {"url": server.url}}) as running:
        await running.error("guarded", "secret")
        assert await by_browser(server, tmp_path) == 'You are logged in at "guarded".'
        assert "Bearer" in await running.text("guarded", "secret")


async def test_tokens_are_for_their_owner_alone_and_keyed_by_issuer(server: Server, tmp_path: Path) -> None:
    await by_browser(server, tmp_path)
    (file,) = (tmp_path / "tokens").glob("*.json")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    saved = json.loads(file.read_text())
    assert list(saved["grants"]) == [server.base]
    assert saved["grants"][server.base]["client"]["issuer"] == server.base


async def test_a_pasted_url_does_in_place_of_a_browser(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    lines = ["http://nothing.here/\n"]

    async def paste() -> str:
        if lines:
            return lines.pop()
        url = next(word for text in said for word in text.split() if "/authorize?" in word)
        async with httpx2.AsyncClient() as client:
            return (await client.get(url)).headers["location"]

    ways = Ways(said.append, paste, lambda _: False)
    assert await log_in(server.entry, tmp_path, ways) == 'You are logged in at "guarded".'
    assert any("That URL holds no code" in text for text in said)


def test_the_commands_log_in_and_out(server: Server, tmp_path: Path) -> None:
    write_config(tmp_path / "servers.json", {"guarded": {"url": server.url}})
    env = {"PATH": os.environ["PATH"], "GATEWAY_HOME": str(tmp_path)}

    def command(*words: str) -> list[str]:
        return [sys.executable, str(PROJECT / "gateway.py"), *words]

    process = subprocess.Popen(
        command("login", "guarded", "--paste"), env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    url = next(line.strip() for line in process.stderr if "/authorize?" in line)
    process.stdin.write(httpx2.get(url).headers["location"] + "\n")
    process.stdin.flush()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, 'You are logged in at "guarded".\n')
    called = subprocess.run(command("call", "guarded", "secret"), env=env, capture_output=True, text=True, check=True)
    assert called.stdout.startswith("Bearer ")
    left = subprocess.run(command("logout", "guarded"), env=env, capture_output=True, text=True, check=True)
    assert left.stdout == 'You are logged out of "guarded".\n'
    assert list((tmp_path / "tokens").iterdir()) == []
    assert server.counted["revoked"] == 1
    after = subprocess.run(command("call", "guarded", "secret"), env=env, capture_output=True, text=True, check=False)
    assert after.returncode == 1
    assert "python gateway.py login guarded" in after.stdout + after.stderr


async def test_a_token_that_has_ended_is_refreshed_before_it_is_sent(
    start: Start, hasty: Server, tmp_path: Path
) -> None:
    await by_browser(hasty, tmp_path)
    grant = TokenFile(tmp_path, hasty.url).grant
    assert grant.tokens is not None
    async with start({"guarded": {"url": hasty.url}}) as running:
        await running.error("guarded", "secret")  # it lets nobody in, whose tokens end at once
    assert hasty.counted["refreshed"] > 0
    assert hasty.counted.get("reused", 0) == 0


async def test_a_token_that_is_refused_is_refreshed_once(start: Start, server: Server, tmp_path: Path) -> None:
    await by_browser(server, tmp_path)
    async with start({"guarded": {"url": server.url}}) as running:
        first = await running.text("guarded", "secret")
        server.revoke()
        second = await running.text("guarded", "secret")
    assert first != second
    assert server.counted["refreshed"] == 1


async def test_a_grant_that_was_revoked_asks_for_a_log_in_and_works_after_it(
    start: Start, server: Server, tmp_path: Path
) -> None:
    await by_browser(server, tmp_path)
    async with start({"guarded": {"url": server.url}}) as running:
        await running.text("guarded", "secret")
        server.revoke(everything=True)
        assert "python gateway.py login guarded" in await running.error("guarded", "secret")
        assert "python gateway.py login guarded" in await running.error("guarded", "secret")
        await by_browser(server, tmp_path)
        assert "Bearer" in await running.text("guarded", "secret")
    assert server.counted["registered"] <= 2


async def test_an_issuer_that_hangs_costs_one_wait_and_no_call_for_ever(
    start: Start, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.oauth._TIMEOUT", 0.5)
    await by_browser(server, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        storage = TokenFile(tmp_path, server.url)
        metadata = storage.grant.metadata
        assert metadata is not None
        endpoint = AnyHttpUrl(f"http://127.0.0.1:{hanging.getsockname()[1]}/token")
        storage.update(metadata=metadata.model_copy(update={"token_endpoint": endpoint}))
        async with start({"guarded": {"url": server.url}}) as running:
            await running.text("guarded", "secret")
            server.revoke()
            said: list[str] = []

            async def call() -> None:
                said.append(await running.error("guarded", "secret"))

            with anyio.fail_after(15):
                async with anyio.create_task_group() as tasks:
                    for _ in range(20):
                        tasks.start_soon(call)
    assert len(said) == 20
    assert all("python gateway.py login guarded" in text for text in said)


async def test_two_gateways_never_burn_each_others_refresh_token(server: Server, tmp_path: Path) -> None:
    await by_browser(server, tmp_path)
    write_config(tmp_path / "servers.json", {"guarded": {"url": server.url}})
    env = {"PATH": os.environ["PATH"], "GATEWAY_HOME": str(tmp_path)}
    command = [sys.executable, str(PROJECT / "gateway.py"), "call", "guarded", "secret"]
    for round_number in range(1, 4):
        server.revoke()
        said: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def call(said: list[Any] = said) -> None:
                said.append(await anyio.run_process(command, env=env, check=False))

            for _ in range(4):
                tasks.start_soon(call)
        assert [done.returncode for done in said] == [0] * 4, [done.stdout for done in said]
        assert len({done.stdout for done in said}) == 1, "all use the one new token"
        assert server.counted["refreshed"] == round_number
    assert server.counted.get("reused", 0) == 0


async def test_a_log_out_of_nothing_says_so(server: Server, tmp_path: Path) -> None:
    assert await log_out(server.entry, tmp_path) == 'Nobody is logged in at "guarded".'


async def test_who_needs_no_log_in_is_told(tmp_path: Path) -> None:
    ways = Ways(lambda _: None, None, browse)
    for raw, says in (
        ({"command": "python"}, "is a program, not a URL"),
        ({"url": "http://h", "headers": {"Authorization": "Bearer x"}}, "brings its own credentials"),
        ({"url": "http://127.0.0.1:9/mcp"}, "failed: "),
    ):
        with pytest.raises(LoginError, match=says):
            await log_in(parse_entry("it", raw, {}), tmp_path, ways)


async def test_a_log_in_that_the_issuer_refuses_says_why(server: Server, tmp_path: Path) -> None:
    async def paste() -> str:
        return "http://127.0.0.1/callback?error=access_denied&error_description=not+today\n"

    with pytest.raises(LoginError, match="access_denied not today"):
        await log_in(server.entry, tmp_path, Ways(lambda _: None, paste, lambda _: False))


def test_a_file_that_is_damaged_or_of_another_server_is_no_grant(tmp_path: Path) -> None:
    storage = TokenFile(tmp_path, "https://one.example/mcp")
    assert (storage.exists(), storage.changed, storage.grant.tokens) == (False, 0, None)
    storage.update(scope="a b")
    assert TokenFile(tmp_path, "https://one.example/mcp").grant.scope == "a b"
    (file,) = (tmp_path / "tokens").iterdir()
    file.write_text(file.read_text().replace("one.example", "two.example"))
    assert storage.grant.scope is None
    file.write_text("{")
    assert storage.grant.scope is None
