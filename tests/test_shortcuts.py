"""Shortcuts around launchers: what is remembered, when it is used, and when the launcher is used again."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest
from support import CHILDREN, Running, Start

from mcp_gateway import launcher
from mcp_gateway.caller import as_dict
from mcp_gateway.shortcuts import Shortcut, launch_of

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")]

NPX = """#!/bin/sh
# A stand-in for npx: notes its runs, and runs what stands in its cache.
echo "$@" >> "$CACHE/runs"
[ "$1" = -y ] && shift
if [ "$1" = --yes ]; then
  spec=${2#--package=}
  PATH=$CACHE/_npx/${spec##*@}/node_modules/.bin:$PATH
  echo "$PATH"
  exit
fi
shift
PATH=$CACHE/_npx/$(cat "$CACHE/current")/node_modules/.bin:$PATH
export PATH
kind "$@"
"""
NPM = """#!/bin/sh
[ "$1" = view ] && echo "$@" >> "$CACHE/looks" && cat "$CACHE/newest"
"""
PROGRAM = f"""#!{sys.executable}
import os, runpy, sys
sys.path.insert(0, {str(CHILDREN)!r})
runpy.run_path({str(CHILDREN / "friendly.py")!r}, run_name="__main__")
"""


@dataclass
class Launching:
    """A launcher of our own with a cache."""

    folder: Path

    def __post_init__(self) -> None:
        """Put version 1.0.0 into the cache."""
        for name, script in (("npx", NPX), ("npm", NPM)):
            self.write(self.folder / "bin" / name, script)
        self.install("1.0.0")
        self.newest('"1.0.0"')

    def write(self, file: Path, script: str) -> Path:
        """Make a program."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script)
        file.chmod(0o755)
        return file

    def install(self, version: str) -> None:
        """Put a version into the cache, and have the launcher run it."""
        modules = self.folder / "_npx" / version / "node_modules"
        self.write(modules / ".bin" / "kind", PROGRAM)
        self.write(modules / "@tests" / "kind" / "package.json", json.dumps({"version": version}))
        (self.folder / "current").write_text(version)

    def newest(self, answer: str) -> None:
        """What the registry says."""
        (self.folder / "newest").write_text(answer)

    @property
    def program(self) -> Path:
        """What the launcher runs at first."""
        return self.folder / "_npx" / "1.0.0" / "node_modules" / ".bin" / "kind"

    @property
    def runs(self) -> list[str]:
        """The arguments of each run of the launcher."""
        file = self.folder / "runs"
        return file.read_text().splitlines() if file.exists() else []

    def entry(self, spec: str = "@tests/kind", *args: str) -> dict[str, object]:
        """An entry that uses the launcher."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"command": "npx", "args": ["-y", spec, *args], "env": {"CACHE": str(self.folder), "PATH": path}}


@pytest.fixture
def launching(tmp_path: Path) -> Launching:
    return Launching(tmp_path / "cache")


def shortcut(running: Running, name: str = "kind") -> Shortcut | None:
    return running.pool.catalog.shortcut(running.pool.entry(name))


async def used_once(running: Running) -> Shortcut:
    """What is remembered when the server has been used."""
    await running.text("kind", "where")
    with anyio.fail_after(20):
        while (found := shortcut(running)) is None:
            await anyio.sleep(0.01)
    return found


async def used_again(start: Start, launching: Launching, **more: object) -> dict[str, object]:
    """What the server sees of itself in a second gateway, after a first one has used it."""
    async with start({"kind": launching.entry(**more)}) as running:  # pyright: ignore[reportArgumentType]
        await used_once(running)
    async with start({"kind": launching.entry(**more)}) as running:  # pyright: ignore[reportArgumentType]
        return json.loads(await running.text("kind", "where"))


async def test_the_second_start_runs_the_program_without_its_launcher(start: Start, launching: Launching) -> None:
    async with start({"kind": launching.entry("@tests/kind", "--depth", "3")}) as running:
        known = await used_once(running)
        assert known.argv == (sys.executable, str(launching.program))
        assert (known.version, known.folder) == ("1.0.0", str(launching.program.parent))
    async with start({"kind": launching.entry("@tests/kind", "--depth", "3")}) as running:
        where = json.loads(await running.text("kind", "where"))
        assert where["env"]["PATH"].startswith(f"{launching.program.parent}{os.pathsep}")
        words = Path(f"/proc/{where['pid']}/cmdline").read_text().split("\0")[:-1]
        assert words == [sys.executable, str(launching.program), "--depth", "3"]
    assert launching.runs == ["-y @tests/kind --depth 3"]


async def test_a_session_of_a_single_call_is_enough(start: Start, launching: Launching) -> None:
    for _ in range(3):
        async with start({"kind": launching.entry()}) as running:
            await running.text("kind", "where")
    assert len(launching.runs) == 1


async def test_a_program_that_is_gone_is_started_by_its_launcher(start: Start, launching: Launching) -> None:
    async with start({"kind": launching.entry()}) as running:
        await used_once(running)
    launching.install("1.1.0")
    launching.program.unlink()
    async with start({"kind": launching.entry()}) as running:
        assert (await used_once(running)).version == "1.1.0"
    assert len(launching.runs) == 2


async def test_a_program_that_was_replaced_in_its_place_is_started_by_its_launcher(
    start: Start, launching: Launching
) -> None:
    async with start({"kind": launching.entry()}) as running:
        await used_once(running)
    manifest = launching.program.parents[1] / "@tests" / "kind" / "package.json"
    manifest.write_text(json.dumps({"version": "6.6.6"}))
    async with start({"kind": launching.entry()}) as running:
        await used_once(running)
    assert len(launching.runs) == 2


@pytest.mark.parametrize("broken", ["#!/bin/sh\nexit 3\n", "#!/nowhere/at/all\n", "no program"])
async def test_a_program_that_fails_is_started_by_its_launcher_within_the_same_call(
    start: Start, launching: Launching, broken: str
) -> None:
    async with start({"kind": launching.entry()}) as running:
        known = await used_once(running)
        launching.program.write_text(broken)
        running.pool.catalog.keep_shortcut(running.pool.entry("kind"), replace(known, argv=known.argv[1:]))
    launching.install("1.0.1")
    async with start({"kind": launching.entry()}) as running:
        await running.text("kind", "where")
        assert running.pool.failure("kind") == ""
        assert (await used_once(running)).version == "1.0.1"
    assert len(launching.runs) == 2


async def test_a_pinned_version_never_changes(
    start: Start, launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "LOOK_EVERY", 0)
    launching.newest('"2.0.0"')
    await used_again(start, launching, spec="@tests/kind@1.0.0")
    assert launching.runs == ["-y @tests/kind@1.0.0"]
    assert not (launching.folder / "looks").exists()


async def test_what_is_not_the_pinned_version_is_not_remembered(start: Start, launching: Launching) -> None:
    entry = launching.entry("@tests/kind@0.9.0")
    async with start({"kind": entry, "other": launching.entry()}) as running:
        await running.text("kind", "where")
        await running.text("other", "where")
        while shortcut(running, "other") is None:
            await anyio.sleep(0.01)
        assert shortcut(running) is None


@pytest.mark.parametrize("answer", ['"2.0.0"', '["1.5.0", "2.0.0"]'])
async def test_a_newer_version_is_looked_for_beside_the_server_and_runs_at_the_next_start(
    start: Start, launching: Launching, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    async with start({"kind": launching.entry("@tests/kind@>=1")}) as running:
        await used_once(running)
    monkeypatch.setattr(launcher, "LOOK_EVERY", 0)
    launching.install("2.0.0")
    launching.newest(answer)
    async with start({"kind": launching.entry("@tests/kind@>=1")}) as running:
        where = json.loads(await running.text("kind", "where"))
        assert "/1.0.0/" in where["env"]["PATH"]
        while (await used_once(running)).version != "2.0.0":
            await anyio.sleep(0.01)
        assert json.loads(await running.text("kind", "where"))["pid"] == where["pid"]
    async with start({"kind": launching.entry("@tests/kind@>=1")}) as running:
        assert "/2.0.0/" in json.loads(await running.text("kind", "where"))["env"]["PATH"]
    assert (launching.folder / "looks").read_text().startswith("view @tests/kind@>=1 version --json\n")
    assert launching.runs[1].startswith("-y --yes --package=@tests/kind@2.0.0 -- ")


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", '"3.0.0"'])
async def test_a_look_that_finds_nothing_keeps_what_works(
    start: Start, launching: Launching, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    async with start({"kind": launching.entry()}) as running:
        before = await used_once(running)
    monkeypatch.setattr(launcher, "LOOK_EVERY", 0)
    launching.newest(answer)
    async with start({"kind": launching.entry()}) as running:
        await running.text("kind", "where")
        while (after := await used_once(running)).looked_at == before.looked_at:
            await anyio.sleep(0.01)
        assert replace(after, looked_at=before.looked_at) == before


async def test_a_look_that_is_broken_off_is_made_again_an_hour_later(
    start: Start, launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start({"kind": launching.entry()}) as running:
        known = await used_once(running)
        old = replace(known, looked_at=known.looked_at - 2 * launcher.LOOK_EVERY)
        running.pool.catalog.keep_shortcut(running.pool.entry("kind"), old)
    launching.write(launching.folder / "bin" / "npm", '#!/bin/sh\necho >> "$CACHE/looks"; sleep 600\n')
    for _ in range(2):
        async with start({"kind": launching.entry()}) as running:
            await running.text("kind", "where")
            while not (launching.folder / "looks").exists():
                await anyio.sleep(0.01)
    assert (launching.folder / "looks").read_text() == "\n"
    monkeypatch.setattr(time, "time", lambda: known.looked_at + 3_700)
    async with start({"kind": launching.entry()}) as running:
        await running.text("kind", "where")
        while (launching.folder / "looks").read_text() != "\n\n":
            await anyio.sleep(0.01)


async def test_it_is_looked_for_once_a_day(start: Start, launching: Launching) -> None:
    await used_again(start, launching)
    assert not (launching.folder / "looks").exists()


async def test_another_package_in_the_entry_is_started_by_the_launcher(start: Start, launching: Launching) -> None:
    entry = launching.entry("${PACKAGE}")
    for package in ("@tests/kind", "@tests/other", "@tests/other"):
        async with start({"kind": entry}, environ={**os.environ, "PACKAGE": package}) as running:
            await running.text("kind", "where")
            while (found := shortcut(running)) is None or found.spec != package:
                await anyio.sleep(0.01)
    assert launching.runs == ["-y @tests/kind", "-y @tests/other"]


async def test_shortcuts_can_be_switched_off(start: Start, launching: Launching) -> None:
    for _ in range(2):
        async with start({"kind": launching.entry()}, shortcuts=False) as running:
            await running.text("kind", "where")
            assert shortcut(running) is None
    assert len(launching.runs) == 2


async def test_no_argument_of_the_server_is_kept_with_the_shortcut(start: Start, launching: Launching) -> None:
    async with start({"kind": launching.entry("@tests/kind", "--api-key", "sesame-open-1")}) as running:
        assert "sesame" not in str(await used_once(running))


@pytest.mark.parametrize(
    "wrapper",
    [
        'export MODE=readonly\nexec {python} {program} "$@"',
        'unset LANG HOME\nexec {python} {program} "$@"',
        'cd /\nexec {python} {program} "$@"',
        'exec {python} {program} --api-key "$API_KEY" "$@"',
        'exec {python} -X utf8 {program} "$@"',
    ],
)
async def test_a_program_that_was_given_more_on_the_way_keeps_its_launcher(
    start: Start, launching: Launching, wrapper: str
) -> None:
    program = launching.write(launching.folder / "server.py", PROGRAM)
    script = wrapper.format(python=sys.executable, program=program)
    launching.write(launching.program, f"#!/bin/sh\n{script}\n")
    entry = launching.entry()
    entry["env"] = {**as_dict(entry["env"]), "API_KEY": "sesame-open-1"}
    for runs in (1, 2):
        async with start({"kind": entry, "plain": launching.entry("@tests/plain")}) as running:
            await running.text("kind", "where")
            await anyio.sleep(0.3)  # what is not learnt leaves no sign
            assert shortcut(running) is None
        assert len(launching.runs) == runs


async def test_a_program_that_a_wrapper_only_starts_is_remembered(start: Start, launching: Launching) -> None:
    program = launching.write(launching.folder / "server.py", PROGRAM)
    launching.write(launching.program, f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    async with start({"kind": launching.entry()}) as running:
        assert (await used_once(running)).argv == (sys.executable, str(program))


@pytest.mark.parametrize(
    ("words", "package", "pinned", "own"),
    [
        ("npx -y pkg", "pkg", "", ()),
        ("npx -y pkg@1.2.3 a -b", "pkg", "1.2.3", ("a", "-b")),
        ("npx @s/pkg@1.2.3-rc.1+b", "@s/pkg", "1.2.3-rc.1+b", ()),
        ("npx @s/pkg@^1.2.3", "@s/pkg", "", ()),
        ("npx pkg@1", "pkg", "", ()),
        ("/usr/bin/npx --yes pkg@latest", "pkg", "", ()),
        ("C:\\nodejs\\npx.cmd -y pkg", "pkg", "", ()),
        ("npx -y -p @s/pkg@2.0.0 prog -x", "@s/pkg", "2.0.0", ("-x",)),
        ("npx --package=pkg --registry https://r.example -- prog a", "pkg", "", ("a",)),
        ("npm exec -y pkg a", "pkg", "", ("a",)),
        ("uvx pkg --flag", "pkg", "", ("--flag",)),
        ("uvx pkg@1.0", "pkg", "1.0", ()),
        ("uvx pkg@latest", "pkg", "", ()),
        ("uvx pkg==1.0 a", "pkg", "1.0", ("a",)),
        ("uvx --from pkg[sqlite]==12.2.0 memory server", "pkg", "12.2.0", ("server",)),
        ("uvx --with x<2 --python 3.12 pkg>=2", "pkg", "", ()),
        ("uv tool run pkg==1.*", "pkg", "", ()),
    ],
)
def test_a_launch_is_understood(words: str, package: str, pinned: str, own: tuple[str, ...]) -> None:
    command, *args = words.split()
    launch = launch_of(command, args)
    assert launch is not None
    assert (launch.package, launch.pinned, launch.own) == (package, pinned, own)


@pytest.mark.parametrize(
    "words",
    [
        "node server.js", "python -m server", "npm run server", "uv run server", "npx", "npx -y", "npx -c x",
        "npx -y -p a -p b prog", "npx -y ./folder", "npx -y github:someone/server", "npx -y https://x.example/a.tgz",
        "npx -y name@npm:other@1.0.0", "npx --prefer-online pkg", "npx --what pkg",
        "uvx --from git+https://x.example/a p",
        "uvx --refresh pkg", "uvx --no-cache pkg", "uvx ./folder", "uvx --from . prog",
    ],
)  # fmt: skip
def test_what_may_differ_at_each_start_keeps_its_launcher(words: str) -> None:
    command, *args = words.split()
    assert launch_of(command, args) is None


@pytest.mark.parametrize("words", ["uvx -q pkg@latest a", "uvx -q --from pkg@latest prog a"])
def test_uv_is_asked_for_the_newest_version_where_it_puts_it(words: str) -> None:
    command, *args = words.split()
    launch = launch_of(command, args)
    assert launch is not None
    assert launch.asking()[:6] == ("-q", "--refresh", "--from", "pkg", "python", "-c")
