"""What is known of each server from its last run, so that nothing has to run to answer from it.

Kept in memory: a fresh gateway knows nothing, and asks a server the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mcp_gateway.registry import Entry

Era = Literal["modern", "handshake"]
"""2026-07-28 and later, asked with `server/discover`; or `initialize`, 2024-11-05 to 2025-11-25."""

Tool = Mapping[str, Any]
"""A tool exactly as its server lists it: `name`, `description`, `inputSchema`, `annotations`, …"""


@dataclass(frozen=True)
class Knowledge:
    """What one server said of itself.

    Attributes:
        tools: All its tools, in its order.
        instructions: Its own words on how to use it; empty if it sends none.
        title: What it calls itself.
        tools_error: Why its tools could not be listed, if so.
    """

    tools: tuple[Tool, ...] = ()
    instructions: str = ""
    title: str = ""
    tools_error: str = ""

    def tool(self, name: str) -> Tool | None:
        """The tool of that name."""
        return next((tool for tool in self.tools if tool.get("name") == name), None)

    @property
    def names(self) -> list[str]:
        """The names of all tools."""
        return [str(tool.get("name", "")) for tool in self.tools]


@dataclass
class Catalog:
    """Knowledge by server, valid for the entry that it was gained with."""

    _known: dict[str, tuple[Entry, Knowledge]] = field(default_factory=dict[str, tuple[Entry, Knowledge]])
    _eras: dict[str, tuple[Entry, Era]] = field(default_factory=dict[str, tuple[Entry, Era]])

    def recall(self, entry: Entry) -> Knowledge | None:
        """What this very entry's server said last."""
        known = self._known.get(entry.name)
        return known[1] if known and known[0].launch == entry.launch else None

    def remember(self, entry: Entry, knowledge: Knowledge) -> None:
        """Replace what was known."""
        self._known[entry.name] = (entry, knowledge)

    def era(self, entry: Entry) -> Era | None:
        """How this server is to be asked first."""
        known = self._eras.get(entry.name)
        return known[1] if known and known[0].launch == entry.launch else None

    def remember_era(self, entry: Entry, era: Era) -> None:
        """Keep how the server was reached."""
        self._eras[entry.name] = (entry, era)
