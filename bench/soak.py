"""Many calls over servers that fail at random: `python bench/soak.py [calls]`; 100,000 unless said otherwise.

The real gateway over stdio, ten servers, sixty calls in flight. Every call has to be answered once, and with what
it asked for or with an error; memory, descriptors and processes have to stay flat; at the end nothing may be left.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PROJECT = Path(__file__).resolve().parent.parent
SERVERS, IN_FLIGHT = 10, 60
FAULTS = {"": 960, "fail": 10, "refuse": 10, "noise": 6, "twice": 4, "stranger": 4, "crash": 5, "hang": 1}
"""How often each happens, of a thousand."""
OPERATION_TIMEOUT = 5
_PAGE = resource.getpagesize()


@dataclass
class Soak:
    """One run: what is in flight, what came back, and how big the gateway was on the way."""

    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]
    wanted: int
    asked: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    done: set[int] = field(default_factory=set[int])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    wrong: Counter[str] = field(default_factory=Counter[str])
    sizes: list[tuple[int, float, int]] = field(default_factory=list[tuple[int, float, int]])

    def send(self, message: dict[str, Any]) -> None:
        """One line to the gateway."""
        self.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def ask(self, number: int) -> None:
        """One call, to a server and with a fault at random."""
        fault = random.choices(list(FAULTS), list(FAULTS.values()))[0]  # noqa: S311 - nothing depends on it
        nonce = f"nonce-{number}"
        self.asked[number] = (fault, nonce)
        arguments = {"fault": fault, "nonce": nonce}
        server = f"server-{random.randrange(SERVERS)}"  # noqa: S311
        parameters = {"mcp_name": server, "tool_name": "do", "arguments": arguments}
        self.send({"id": number, "method": "tools/call", "params": {"name": "call_mcp_tool", "arguments": parameters}})

    def take(self, message: dict[str, Any]) -> None:
        """One answer."""
        number = message["id"]
        if number in self.done:
            self.wrong["answered twice"] += 1
            return
        fault, nonce = self.asked.pop(number)
        self.done.add(number)
        text = json.dumps(message)
        ours = nonce in text
        failed = message.get("result", {}).get("isError") is True or "error" in message
        if not ours and not failed:
            self.wrong["answered with what another call asked for"] += 1
        elif fault in {"", "noise", "twice", "stranger"} and failed and "during the call" not in text:
            self.wrong[text[:300]] += 1
        self.outcomes["an answer" if ours and not failed else "its own failure" if ours else "lost its server"] += 1

    def measure(self) -> None:
        """Memory in MB and descriptors, now."""
        proc = Path("/proc") / str(self.pid)
        pages = int((proc / "statm").read_text().split()[1])
        self.sizes.append((len(self.done), pages * _PAGE / 1e6, len(os.listdir(proc / "fd"))))

    def run(self) -> None:
        """All calls, so many in flight at a time."""
        number = 0
        while len(self.done) < self.wanted:
            while number < self.wanted and len(self.asked) < IN_FLIGHT:
                number += 1
                self.ask(number)
            self.stdin.flush()
            message = json.loads(self.stdout.readline())
            if "id" in message and "method" not in message:
                self.take(message)
                if len(self.done) % (self.wanted // 10) == 0:
                    self.measure()


def marked(home: str) -> int:
    """Processes that have the home folder of this run in their environment."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            count += home.encode() in (folder / "environ").read_bytes()
        except OSError:
            continue
    return count


def main() -> int:
    """1 if something was lost, doubled or left behind."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as home:
        entry = {"command": sys.executable, "args": [str(PROJECT / "bench" / "faulty.py")], "env": {"SOAK": home}}
        entries = {f"server-{number}": entry for number in range(SERVERS)}
        (Path(home) / "servers.json").write_text(json.dumps({"mcpServers": entries}))
        env = {"PATH": os.environ["PATH"], "GATEWAY_HOME": home, "GATEWAY_OPERATION_TIMEOUT": str(OPERATION_TIMEOUT)}
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "gateway.py")], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the gateway was started without pipes")
        soak = Soak(process.pid, process.stdin, process.stdout, wanted)
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}}
        soak.send({"id": 0, "method": "initialize", "params": hello})
        soak.send({"method": "notifications/initialized"})
        soak.stdin.flush()
        soak.stdout.readline()
        began = time.monotonic()
        soak.run()
        seconds = time.monotonic() - began
        soak.stdin.close()
        process.wait(10)
        left = marked(home)
    print(f"{wanted:,} calls in {seconds:.0f} s, {IN_FLIGHT} in flight over {SERVERS} servers")
    print(", ".join(f"{what}: {count:,}" for what, count in sorted(soak.outcomes.items())))
    for done, megabytes, descriptors in soak.sizes:
        print(f"after {done:>7,}: {megabytes:6.1f} MB, {descriptors} descriptors")
    print(f"not answered: {len(soak.asked)}, processes left: {left}, wrong: {dict(soak.wrong)}")
    return int(bool(soak.asked or left or soak.wrong))


if __name__ == "__main__":
    sys.exit(main())
