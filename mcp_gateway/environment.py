"""What a child's program finds around it: its variables, its search path, and itself.

A host with a window starts the gateway with a bare `PATH`, so commands are looked for where a
person's shell would find them as well. A child gets the variables that programs need to reach
networks and caches, what its entry sets, and nothing else of the gateway's.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_PASSED_ON = re.compile(
    r"""(HTTPS?_PROXY|ALL_PROXY|NO_PROXY|FTP_PROXY
        |NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE
        |NPM_CONFIG_.*|UV_.*|PIP_.*|XDG_.*|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|TMP|TEMP)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Proxies in both cases, certificates, package caches, locale and temporary folders."""

_BASE_POSIX = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
_BASE_WINDOWS = (
    "ALLUSERSPROFILE", "APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT",
    "PROCESSOR_ARCHITECTURE", "PROGRAMDATA", "PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "USERNAME",
    "USERPROFILE", "WINDIR",
)  # fmt: skip

_HINTS = {
    "npx": "Node.js brings it: https://nodejs.org",
    "npm": "Node.js brings it: https://nodejs.org",
    "node": "install Node.js: https://nodejs.org",
    "uvx": "uv brings it: https://docs.astral.sh/uv/getting-started/installation",
    "uv": "install uv: https://docs.astral.sh/uv/getting-started/installation",
    "pipx": "install pipx: https://pipx.pypa.io",
    "docker": "install Docker, and start it: https://docs.docker.com/get-docker",
    "bunx": "Bun brings it: https://bun.sh",
    "deno": "install Deno: https://deno.com",
}


def child_environment(environ: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a child: the safe base, what reaches networks and caches, its own."""
    base = _BASE_WINDOWS if sys.platform == "win32" else _BASE_POSIX
    passed = {
        name: value
        for name, value in environ.items()
        if (name.upper() in base or _PASSED_ON.fullmatch(name)) and not value.startswith("()")
    }
    merged = {**passed, **own}
    merged["PATH"] = search_path(merged)
    return merged


def search_path(env: Mapping[str, str]) -> str:
    """The `PATH` of `env`, and behind it the folders that a person's shell would add."""
    known = [folder for folder in env.get("PATH", os.defpath).split(os.pathsep) if folder]
    extra = (str(folder) for folder in _usual_folders(env) if folder.is_dir())
    return os.pathsep.join(dict.fromkeys([*known, *extra]))


def find_command(command: str, env: Mapping[str, str], cwd: str | None) -> str | None:
    """The program's full path, or None; `.cmd` and `.exe` are found on Windows."""
    program = str(Path(command).expanduser()) if command.startswith("~") else command
    if os.path.dirname(program):
        program = os.path.join(cwd or "", program)
    return shutil.which(program, path=env.get("PATH"))


def why_not_found(command: str, env: Mapping[str, str], cwd: str | None) -> str:
    """Why `find_command` finds nothing, as the end of a sentence, and what to do about it."""
    file = Path(cwd or "", Path(command).expanduser())
    if os.path.dirname(command) and file.is_dir():
        return f'the command "{command}" is a folder; name the program in it'
    if os.path.dirname(command) and file.is_file():
        return f'the command "{command}" is a file that may not be run; make it executable, or name its interpreter'
    if " " in command.strip() and find_command(command.split(maxsplit=1)[0], env, cwd):
        return f'the command "{command}" was not found; put its arguments into "args"'
    return f'the command "{command}" was not found ({install_hint(command)})'


def install_hint(command: str) -> str:
    """What to do about a command that is not there."""
    name = Path(command).name.removesuffix(".cmd").removesuffix(".exe")
    return _HINTS.get(name, "install it, or give its full path in the entry")


def _usual_folders(env: Mapping[str, str]) -> Iterator[Path]:
    home = Path(env.get("HOME") or env.get("USERPROFILE") or Path.home())
    if sys.platform == "win32":
        yield from _windows_folders(env, home)
        return
    yield from (Path("/opt/homebrew/bin"), Path("/usr/local/bin"), Path("/home/linuxbrew/.linuxbrew/bin"))
    yield from (home / ".local/bin", home / ".cargo/bin", home / ".volta/bin", home / ".bun/bin", home / ".deno/bin")
    yield from (home / ".asdf/shims", home / ".local/share/mise/shims", home / ".npm-global/bin")
    yield from _node_versions(home)
    yield from (Path("/usr/bin"), Path("/bin"))


def _node_versions(home: Path) -> Iterator[Path]:
    """What nvm and fnm call the default, else the newest version that nvm has installed."""
    yield home / ".local/share/fnm/aliases/default/bin"
    yield home / "Library/Application Support/fnm/aliases/default/bin"
    yield home / ".fnm/aliases/default/bin"
    nvm = home / ".nvm"
    installed = sorted(nvm.glob("versions/node/v*"), key=_version, reverse=True)
    wanted = _first_line(nvm / "alias/default").removeprefix("v")
    chosen = [node for node in installed if wanted and f"{node.name[1:]}.".startswith(f"{wanted}.")]
    yield from (node / "bin" for node in (chosen or installed)[:1])


def _windows_folders(env: Mapping[str, str], home: Path) -> Iterator[Path]:
    roaming = Path(env.get("APPDATA", home / "AppData/Roaming"))
    local = Path(env.get("LOCALAPPDATA", home / "AppData/Local"))
    programs = Path(env.get("PROGRAMFILES", "C:/Program Files"))
    yield from (programs / "nodejs", roaming / "npm", local / "Volta/bin", roaming / "fnm/aliases/default")
    yield from (home / ".local/bin", home / ".cargo/bin", home / "scoop/shims", home / ".bun/bin")


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", folder.name))


def _first_line(file: Path) -> str:
    try:
        return (file.read_text(encoding="utf-8", errors="replace").splitlines() or [""])[0].strip()
    except OSError:
        return ""
