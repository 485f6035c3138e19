"""Which tools may be used, and for which the user is asked first; takes values and gives values.

Decided by names and annotations alone, never by words in a description. Names are matched by globs as a shell has
them, case-sensitive: those of an entry against the tool's name, those for all servers against `server.tool`. What is
denied comes before what is asked for, and that before what is allowed; where `allow` is given, what it does not name
is denied. A tool counts as reading only if it says so (`readOnlyHint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from mcp_gateway.caller import as_dict
from mcp_gateway.knowledge import Knowledge, Tool
from mcp_gateway.registry import Entry, ToolPolicy
from mcp_gateway.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """What the policy says of a tool, and why, as the end of a sentence."""

    says: Literal["allow", "deny", "ask"]
    why: str = ""


ALLOWED = Verdict("allow")


@dataclass(frozen=True)
class Policy:
    """The rules for the tools of one server.

    Attributes:
        own, everywhere: Those of its entry, and those for all servers.
        ask_writing: Whether the user is asked for each tool that is not declared to be reading.
        read_only: Whether only tools that are declared to be reading may be called.
    """

    server: str
    own: ToolPolicy
    everywhere: ToolPolicy
    ask_writing: bool = False
    read_only: bool = False

    def verdict(self, tool: Tool) -> Verdict:
        """What may be done with a tool, by its name and annotations."""
        name = str(tool.get("name", ""))
        denied = self.denied(name)
        if denied is not None:
            return denied
        reads = reading(tool)
        if self.read_only and not reads:
            return Verdict("deny", "only tools that are declared to be read-only may be called (GATEWAY_READ_ONLY=1)")
        if _matches(self.own.ask, name) or _matches(self.everywhere.ask, f"{self.server}.{name}"):
            return Verdict("ask", 'the user is to be asked first ("tools": "ask")')
        if self.ask_writing and not reads:
            return Verdict("ask", "the user is to be asked first (GATEWAY_ASK=destructive)")
        return ALLOWED

    def denied(self, name: str) -> Verdict | None:
        """The verdict where a tool is denied by its name alone."""
        for policy, known, where in (
            (self.own, name, "its entry"),
            (self.everywhere, f"{self.server}.{name}", "the servers file"),
        ):
            unnamed = policy.allow and not _matches((*policy.allow, *policy.ask), known)
            if unnamed or _matches(policy.deny, known):
                return Verdict("deny", f'{where} denies it ("tools")')
        return None

    def shown(self, knowledge: Knowledge) -> Knowledge:
        """What is known of a server without the tools that are denied."""
        tools = tuple(tool for tool in knowledge.tools if self.verdict(tool).says != "deny")
        return knowledge if len(tools) == len(knowledge.tools) else replace(knowledge, tools=tools)


def policy_of(entry: Entry, settings: Settings) -> Policy:
    """The rules for the tools of a server."""
    return Policy(entry.name, entry.tools, entry.everywhere, settings.ask == "destructive", settings.read_only)


def reading(tool: Mapping[str, Any]) -> bool:
    """Whether a tool declares that it changes nothing."""
    return as_dict(tool.get("annotations")).get("readOnlyHint") is True


def repeatable(tool: Mapping[str, Any] | None) -> bool:
    """Whether a tool says of itself that it may be called twice."""
    hints = as_dict((tool or {}).get("annotations"))
    return hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True


def _matches(globs: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
