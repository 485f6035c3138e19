"""Containers as servers: what is added to the command, and that the container goes. The client here is a stand-in."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import anyio
import pytest
from support import CHILDREN, Start

from mcp_gateway.docker import Container, container_of
from mcp_gateway.process import Command

CLIENT = """#!/bin/sh
echo "$@" >> {log}
[ "$1" = run ] && exec {python} {script}
exit 0
"""


def contained(*args: str, program: str = "/usr/bin/docker") -> Container | None:
    return container_of("my server", Command(program, args, {}, None))


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ("run image", "--rm --init -i --name NAME"),
        ("run -i --rm image --name mine --init", "--init --name NAME"),
        ("run -it -e KEY --network host image", "--rm --init --name NAME"),
        ("run --rm=true --interactive --init image", "--name NAME"),
        ("container run -e --rm image", "--rm --init -i --name NAME"),
    ],
)
def test_a_container_gets_what_makes_it_go_with_its_client(given: str, added: str) -> None:
    made = contained(*given.split())
    assert made is not None
    assert made.name.startswith("mcp-gateway-my-server-")
    before, after = given.split("run", 1)
    expected = f"{before}run {added.replace('NAME', made.name)}{after}"
    assert " ".join(made.command.args) == expected


@pytest.mark.parametrize("given", ["run --name mine image", "run --name=mine image"])
def test_a_name_that_is_given_is_kept(given: str) -> None:
    made = contained(*given.split())
    assert made is not None
    assert (made.name, made.ours) == ("mine", False)
    assert made.command.args.count("--name") + made.command.args.count("--name=mine") == 1


def test_other_commands_are_left_alone() -> None:
    assert contained("run", "image", program="/usr/bin/npx") is None
    assert contained("mcp", "gateway", "run") is None
    assert contained("run", "image", program=r"C:\tools\docker.exe".replace("\\", "/")) is not None


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """A program named `docker` that writes down what it is asked, and runs a server in place of a container."""
    program = tmp_path / "docker"
    words = {"log": tmp_path / "log", "python": sys.executable, "script": CHILDREN / "friendly.py"}
    program.write_text(CLIENT.format(**{key: shlex.quote(str(value)) for key, value in words.items()}))
    program.chmod(0o700)
    return program


def asked(client: Path) -> list[str]:
    return client.with_name("log").read_text().splitlines()


@pytest.mark.anyio
async def test_a_server_in_a_container_is_called_and_ends_by_itself(start: Start, client: Path) -> None:
    async with start({"boxed": {"command": str(client), "args": ["run", "-e", "KEY", "image"]}}) as running:
        assert "hi" in await running.text("boxed", "echo", {"text": "hi"})
    (ran,) = asked(client)
    assert ran.startswith("run --rm --init -i --name mcp-gateway-boxed-")
    assert ran.endswith("-e KEY image")


@pytest.mark.anyio
async def test_a_container_of_a_name_that_a_person_gave_is_never_removed(start: Start, client: Path) -> None:
    client.write_text(f'#!/bin/sh\necho "$@" >> {client.with_name("log")}\nexit 125\n')
    async with start({"boxed": {"command": str(client), "args": ["run", "--name", "mine", "image"]}}) as running:
        assert "exit code 125" in await running.error("boxed", "echo")
    assert asked(client) == ["run --rm --init -i --name mine image"], "it may be the one of another gateway"


@pytest.mark.anyio
async def test_a_container_whose_client_dies_first_is_removed_by_its_name(start: Start, client: Path) -> None:
    async with start({"boxed": {"command": str(client), "args": ["run", "image"]}}) as running:
        result = await running.call("boxed", "slow", {"seconds": 0})
        assert result.structured_content is not None
        os.kill(result.structured_content["pid"], signal.SIGKILL)
        while len(asked(client)) < 2:
            await anyio.sleep(0.01)
    ran, removed = asked(client)
    name = ran.split("--name ")[1].split()[0]
    assert removed == f"rm --force {name}"
