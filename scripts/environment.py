"""Makes the project's own environment, `.venv`, with nothing but Python's standard library."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / ".venv"
PYTHON = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
_OLDEST = (3, 11)


def prepare(requirements: str) -> str:
    """The path of a Python that has `requirements` installed, made or renewed as needed."""
    if sys.version_info < _OLDEST:
        sys.exit(f"Python {'.'.join(map(str, _OLDEST))} or newer is needed; this is {sys.version.split()[0]}.")
    stamp = FOLDER / f"{requirements}.sha256"
    wanted = _digest()
    if not (PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted):
        _install(requirements)
        stamp.write_text(wanted)
    return str(PYTHON)


def _install(requirements: str) -> None:
    print(f"Preparing {FOLDER.name} with {requirements} ...", flush=True)
    if not PYTHON.exists():
        _run([sys.executable, "-m", "venv", str(FOLDER)], "On Debian and Ubuntu, install the package python3-venv.")
    install = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
    _run(install, "The packages could not be installed; is there a network, or a proxy to be set in HTTPS_PROXY?")


def _run(command: list[str], hint: str) -> None:
    if subprocess.run(command, cwd=PROJECT, check=False).returncode:
        sys.exit(hint)


def _digest() -> str:
    texts = (file.read_bytes() for file in sorted(PROJECT.glob("requirements*.txt")))
    return hashlib.sha256(b"\0".join(texts)).hexdigest()
