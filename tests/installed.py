"""Real servers and clients, installed from their registries by the test run itself, once for each version."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from support import PROJECT

NPM_PACKAGES = (
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@anthropic-ai/claude-code@2.1.197",
)
PYPI_PACKAGES = ("mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19")
SUITE = ("@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@22.23.3")
"""The official conformance suite, and the Node.js that it needs."""
SDK_1 = ("mcp==1.30.0",)
UV = ("uv==0.13.9",)
KEPT = PROJECT / ".venv" / "real"


def install(name: str, packages: tuple[str, ...], command: list[str]) -> Path:
    """The folder with these packages; what is there from an earlier run is used again."""
    folder = KEPT / name
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(packages):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([*command, *packages], cwd=folder, check=True, capture_output=True, timeout=900)
        stamp.write_text(" ".join(packages))
    return folder


def python_with(name: str, packages: tuple[str, ...]) -> str:
    """A Python of its own with these packages."""
    folder = KEPT / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    install(name, packages, [str(python), "-m", "pip", "install", "--quiet"])
    return str(python)


@pytest.fixture(scope="session")
def npm() -> Path:
    """The `node_modules` folder with the npm packages."""
    program = shutil.which("npm")
    if program is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    folder = install("npm", NPM_PACKAGES, [program, "install", "--prefix", ".", "--no-audit", "--no-fund"])
    return folder / "node_modules"


@pytest.fixture(scope="session")
def suite() -> list[str]:
    """The command of the official conformance suite."""
    program = shutil.which("npm")
    if program is None:
        pytest.skip("npm is not installed")
    folder = install("suite", SUITE, [program, "install", "--prefix", ".", "--no-audit", "--no-fund"])
    node = next(folder.glob("node_modules/node/bin/node*"))
    script = folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    return [str(node), str(script)]


@pytest.fixture(scope="session")
def pypi() -> str:
    """A Python with the servers from PyPI."""
    return python_with("pypi", PYPI_PACKAGES)


@pytest.fixture(scope="session")
def uv() -> Path:
    """The folder with `uvx`."""
    return Path(python_with("uv", UV)).parent


@pytest.fixture(scope="session")
def sdk_1() -> str:
    """A Python with the SDK's version 1."""
    return python_with("sdk1", SDK_1)
