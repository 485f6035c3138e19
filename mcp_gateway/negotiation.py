"""Which era of the protocol a server speaks: 2026-07-28 and later, or a handshake before it.

Source: MCP specification 2026-07-28, `server/discover`; 2025-11-25, basic/lifecycle.
"""

from __future__ import annotations

import anyio
from mcp.client import ClientSession
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from mcp_gateway.knowledge import Era

_PROBE_LIMIT = 3.0
"""Seconds that a server of unknown era may take over `server/discover` before `initialize` is sent
behind it. None of 46 servers hung on the question, and one that is merely slow to start answers both."""


async def negotiate(session: ClientSession, era: Era | None) -> Era:
    """Finds out which era a server speaks, asking first as it was reached before.

    Raises:
        MCPError: It speaks neither.
    """
    if era != "handshake" and await _discover(session):
        return "modern"
    try:
        await session.initialize()
    except MCPError:
        if await _discover(session):
            return "modern"
        raise
    return "handshake"


async def _discover(session: ClientSession) -> bool:
    try:
        with anyio.move_on_after(_PROBE_LIMIT):
            await session.discover()
            return True
    except (MCPError, ValidationError, RuntimeError):
        pass
    return False
