"""A hundred closings by a host, over servers that ignore EOF and SIGTERM and have grandchildren: nothing is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hosting import Host
from support import Liveness, child, write_config

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are POSIX"),
    pytest.mark.timeout(600),
]

CLOSINGS = 25
"""By each of four ways."""
AT_ONCE = 5
HOST_WAIT = 2.0
"""Seconds between the steps of the SDK's own client."""


def by_end_of_file(one: Host) -> None:
    """As the SDK's client begins: it closes the pipe and waits."""
    assert one.process.stdin
    one.process.stdin.close()
    one.process.wait(20)


def by_sigterm(one: Host) -> None:
    """As a system that shuts down."""
    one.process.send_signal(signal.SIGTERM)
    one.process.wait(20)


def step_by_step(one: Host) -> None:
    """As the SDK's client does it: end of file, SIGTERM after two seconds, SIGKILL after two more."""
    assert one.process.stdin
    one.process.stdin.close()
    for then in (one.process.terminate, one.process.kill):
        with suppress(subprocess.TimeoutExpired):
            one.process.wait(HOST_WAIT)
            return
        then()
    one.process.wait()


def by_sigkill(one: Host) -> None:
    """As the system does it when memory is short."""
    one.process.kill()
    one.process.wait()


@pytest.mark.parametrize("close", [by_end_of_file, by_sigterm, step_by_step, by_sigkill])
def test_no_process_is_left(close: Callable[[Host], None]) -> None:
    def once(_: int) -> int:
        liveness = Liveness()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
            entries = {kind: child("stubborn", liveness.port, kind) for kind in ("group", "session")}
            write_config(Path(home) / "servers.json", entries)
            one = Host(Path(home), {})
            try:
                one.initialize()
                assert one.call("group", "hello") == "hello"
                assert one.call("session", "hello") == "hello"
                liveness.expect(6)
                assert liveness.alive() == 6
                close(one)
                if close is by_sigkill:
                    liveness.wait_for_end()  # the guard needs a moment
                return liveness.alive()
            finally:
                one.end()
                liveness.close()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert list(threads.map(once, range(CLOSINGS))) == [0] * CLOSINGS
