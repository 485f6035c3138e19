"""Real servers, each through list, load and call."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_types import ImageContent, ResourceLink, TextContent
from support import Start, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(900)]


def node(npm: Path, package: str, *args: object) -> dict[str, Any]:
    """An entry for a server from npm."""
    return {"command": "node", "args": [str(npm / package / "dist" / "index.js"), *map(str, args)]}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_everything(start: Start, npm: Path, mode: str) -> None:
    entry = node(npm, "@modelcontextprotocol/server-everything")
    heard: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, _: str | None) -> None:
        heard.append((progress, total))

    async with start({"everything": entry}, mode=mode) as running:
        assert "- everything" in await running.list()
        loaded = await running.load("everything")
        assert "Everything Server" in loaded
        assert "get-sum(a: number, b: number)" in loaded
        assert "everything.get-tiny-image()" in await running.list("tiny image")
        assert await running.text("everything", "get-sum", {"a": 19, "b": 23}) == "The sum of 19 and 23 is 42."

        image = (await running.call("everything", "get-tiny-image")).content[1]
        assert isinstance(image, ImageContent)
        assert image.mime_type == "image/png"
        assert image.data.startswith("iVBORw0KGgo")

        arguments = {"duration": 1, "steps": 4}
        await running.call("everything", "trigger-long-running-operation", arguments, progress_callback=hear)
        assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]

        structured = await running.call("everything", "get-structured-content", {"location": "Chicago"})
        assert set(structured.structured_content) == {"temperature", "conditions", "humidity"}  # type: ignore[arg-type]

        links = await running.call("everything", "get-resource-links", {"count": 2})
        assert [block.type for block in links.content] == ["text", "resource_link", "resource_link"]
        assert isinstance(links.content[1], ResourceLink)

        annotated = (await running.call("everything", "get-annotated-message", {"messageType": "error"})).content[0]
        assert isinstance(annotated, TextContent)
        assert annotated.annotations
        assert annotated.annotations.priority == 1.0

        refused = await running.call("everything", "get-sum", {"a": "x"})
        assert refused.is_error
        assert "Its signature: get-sum(a: number, b: number)" in refused.model_dump_json()


async def test_filesystem(start: Start, npm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "note.txt").write_text("written by hand")
    entry = node(npm, "@modelcontextprotocol/server-filesystem", folder)
    async with start({"files": entry}) as running:
        assert "read_text_file(path: string, tail?: number, head?: number)" in await running.load("files")
        assert "[FILE] note.txt" in await running.text("files", "list_directory", {"path": str(folder)})
        asked = {"paths": json.dumps([str(folder / "note.txt")])}
        assert "written by hand" in await running.text("files", "read_multiple_files", asked)
        assert "Access denied" in await running.error("files", "read_text_file", {"path": "/etc/passwd"})


async def test_git(start: Start, pypi: str, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    commit = ["commit", "--quiet", "--allow-empty", "--message", "The first commit"]
    subprocess.run(["git", *identity, *commit], cwd=repository, check=True)
    async with start({"git": {"command": pypi, "args": ["-m", "mcp_server_git"]}}) as running:
        assert "git_log(repo_path: string" in await running.load("git")
        asked = {"repo_path": str(repository), "max_count": "1"}
        assert "The first commit" in await running.text("git", "git_log", asked)


async def test_time(start: Start, pypi: str) -> None:
    async with start({"time": {"command": pypi, "args": ["-m", "mcp_server_time"]}}) as running:
        assert "get_current_time(timezone: string)" in await running.load("time")
        assert "Europe/Berlin" in await running.text("time", "get_current_time", {"timezone": "Europe/Berlin"})
        refused = await running.call("time", "convert_time", {"source_timezone": "UTC"})
        assert refused.is_error
        assert "- 'time' is a required property" in refused.model_dump_json()


async def test_a_server_on_version_1_of_the_sdk(start: Start, sdk_1: str) -> None:
    heard: list[str | None] = []

    async def hear(_: float, __: float | None, message: str | None) -> None:
        heard.append(message)

    script = Path(__file__).with_name("server_of_sdk_1.py")
    async with start({"first": {"command": sdk_1, "args": [str(script)]}}) as running:
        loaded = await running.load("first")
        assert "Made with version 1." in loaded
        assert "count(to: integer)" in loaded
        counted = await running.call("first", "count", {"to": 3}, progress_callback=hear)
        assert text_of(counted) == "counted to 3"
        assert heard == ["at 1", "at 2", "at 3"]
        assert isinstance((await running.call("first", "picture")).content[0], ImageContent)
        assert "as it was told" in await running.error("first", "fail")


class Web:
    """A server on version 2 of the SDK behind a URL, which wants a token."""

    def __init__(self, folder: Path) -> None:
        """Choose a port."""
        self._file = folder / "port"
        self._port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self._port}/mcp"

    def start(self) -> None:
        """Start a process that listens, on the same port each time."""
        self._file.unlink(missing_ok=True)
        script = Path(__file__).with_name("server_over_http.py")
        self._process = subprocess.Popen([sys.executable, str(script), str(self._file), str(self._port)])
        while not self._file.exists() or not self._file.read_text().endswith("\n"):
            assert self._process.poll() is None
        self._port = int(self._file.read_text())

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def web(tmp_path: Path) -> Generator[Web]:
    server = Web(tmp_path)
    yield server
    server.stop()


def token_of(web: Web, token: str) -> dict[str, Any]:
    return {"url": web.url, "headers": {"Authorization": f"Bearer {token}"}}


async def test_a_server_over_streamable_http(start: Start, web: Web) -> None:
    entries = {"web": token_of(web, "${WEB_TOKEN}"), "nobody": {"url": "http://127.0.0.1:9/mcp"}}
    async with start(entries, environ={"WEB_TOKEN": "let-me-in"}) as running:
        assert "whoami()" in await running.load("web")
        assert await running.text("web", "whoami") == "Bearer let-me-in"
        assert await running.text("web", "whoami") == "Bearer let-me-in"
        assert "http://127.0.0.1:9/mcp cannot be reached" in await running.error("nobody", "whoami")


async def test_a_server_over_http_that_refuses_says_with_what(start: Start, web: Web) -> None:
    async with start({"stranger": token_of(web, "wrong"), "web": token_of(web, "let-me-in")}) as running:
        failure = await running.error("stranger", "whoami")
        assert f"{web.url} answered 401 Unauthorized: check the token or key in the headers of its entry" in failure
        assert "503 Service Unavailable: it is busy or has a fault of its own" in await running.error("web", "busy")
        assert await running.text("web", "whoami") == "Bearer let-me-in"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_server_over_http_that_was_restarted_is_reached_again(start: Start, web: Web, mode: str) -> None:
    async with start({"web": token_of(web, "let-me-in")}, mode=mode) as running:
        assert await running.text("web", "whoami") == "Bearer let-me-in"
        web.stop()
        web.start()
        assert await running.text("web", "whoami") == "Bearer let-me-in"


async def test_a_session_that_a_server_has_forgotten_is_opened_anew(start: Start, sdk_1: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sdk_1, str(Path(__file__).with_name("server_of_sdk_1.py")), str(port)]

    async def listen() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command)
        while True:
            with suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                return process
            await anyio.sleep(0.05)

    process = await listen()
    try:
        async with start({"first": {"url": f"http://127.0.0.1:{port}/mcp"}}) as running:
            assert await running.text("first", "count", {"to": 1}) == "counted to 1"
            process.kill()
            process.wait()
            process = await listen()
            assert await running.text("first", "count", {"to": 2}) == "counted to 2"
    finally:
        process.kill()
        process.wait()
