"""Checks the form of the code: `python3 scripts/check.py`."""

from __future__ import annotations

import subprocess
import sys

from environment import PROJECT, prepare

COMMANDS = (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["pyright"])


def main() -> int:
    """Run all checks; 1 if one of them failed."""
    python = prepare("requirements-dev.txt")
    results = [subprocess.run([python, "-m", *command], cwd=PROJECT, check=False).returncode for command in COMMANDS]
    return int(any(results))


if __name__ == "__main__":
    sys.exit(main())
