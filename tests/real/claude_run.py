"""Runs the real Claude Code against a scripted stand-in of the Messages API, both on loopback alone.

To be started inside a network namespace of its own (`unshare -n`), so that nothing can leave the
machine. Arguments: the claude program, the folder for its home, the command of the gateway. Prints
one JSON object: what each command said, and what the stand-in was sent.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("list_available_mcps", {}),
    ("load_mcp_tools", {"mcp_name": "everything"}),
    ("call_mcp_tool", {"mcp_name": "everything", "tool_name": "get-tiny-image"}),
    ("call_mcp_tool", {"mcp_name": "everything", "tool_name": "get-sum", "arguments": {"a": 19, "b": 23}}),
]
"""What the stand-in has the model ask for, one call a turn."""

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def raise_loopback() -> None:
    """Does what `ip link set lo up` does; netdevice(7)."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


def blocks_of(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Every content block of every message."""
    contents = [message["content"] for message in request["messages"] if isinstance(message["content"], list)]
    return [block for content in contents for block in content]


def next_block(request: dict[str, Any]) -> dict[str, Any]:
    """The model's answer: the call whose turn it is, or a last word."""
    answered = sum(block["type"] == "tool_result" for block in blocks_of(request))
    offered = {tool["name"] for tool in request.get("tools", [])}
    if answered >= len(CALLS):
        return {"type": "text", "text": "All done."}
    name, arguments = CALLS[answered]
    if f"mcp__gateway__{name}" not in offered:
        return {"type": "text", "text": "No such tool was offered."}
    return {"type": "tool_use", "id": f"toolu_{answered}", "name": f"mcp__gateway__{name}", "input": arguments}


def events(block: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer as the events of a stream; Messages API, streaming."""
    is_tool = block["type"] == "tool_use"
    start: dict[str, Any] = {**block, "input": {}} if is_tool else {"type": "text", "text": ""}
    delta: dict[str, Any] = {"type": "text_delta", "text": block.get("text", "")}
    if is_tool:
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    usage = {"input_tokens": 10, "output_tokens": 10}
    message: dict[str, Any] = {
        "id": f"msg_{block.get('id', 'last')}",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "usage": usage,
    }
    return [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use" if is_tool else "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 10},
        },
        {"type": "message_stop"},
    ]


class StandIn(BaseHTTPRequestHandler):
    """Answers `POST /v1/messages` from the script, and keeps what it was sent."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012 - one for the whole run

    def do_POST(self) -> None:
        """One request of the client."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.startswith("/v1/messages") or "messages" not in request:
            self.send_error(404)
            return
        self.seen.append(request)
        body = "".join(
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events(next_block(request))
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Says nothing."""


def main() -> None:
    """Add, list, and let a scripted model work."""
    claude, home, gateway = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    raise_loopback()
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GATEWAY_HOME": os.environ["GATEWAY_HOME"],
        "ANTHROPIC_API_KEY": "dummy",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.server_port}",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            [claude, *words], env=env, cwd=home, capture_output=True, text=True, timeout=100, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.stdout + done.stderr

    added = run("mcp", "add", "--scope", "user", "gateway", "--", *gateway)
    listed = run("mcp", "list")
    config = home / "mcp.json"
    entry = {"command": gateway[0], "args": gateway[1:], "alwaysLoad": True}
    config.write_text(json.dumps({"mcpServers": {"gateway": entry}}))
    worked = run(
        "-p", "Work.", "--mcp-config", str(config), "--strict-mcp-config", "--output-format", "stream-json",
        "--verbose", "--allowedTools", "mcp__gateway",
    )  # fmt: skip
    sys.stdout.write(json.dumps({"added": added, "listed": listed, "worked": worked, "requests": StandIn.seen}))


if __name__ == "__main__":
    main()
