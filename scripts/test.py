"""Runs the tests with branch coverage: `python3 scripts/test.py [pytest's own options]`."""

from __future__ import annotations

import subprocess
import sys

from environment import PROJECT, prepare


def main() -> int:
    """Pytest's own exit code."""
    python = prepare("requirements-dev.txt")
    command = [python, "-m", "pytest", "--cov", "--cov-branch", "--cov-report=term-missing:skip-covered"]
    return subprocess.run([*command, *sys.argv[1:]], cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
