"""Which tools of a server may be used; takes values and gives values.

Decided by names alone, with globs as a shell has them, case-sensitive. `deny` comes before `ask`, and
`ask` before `allow`; where `allow` is given, what it does not name is denied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Literal

from mcp_gateway.knowledge import Knowledge
from mcp_gateway.registry import ToolPolicy

Verdict = Literal["allow", "deny", "ask"]


def verdict(policy: ToolPolicy, tool: str) -> Verdict:
    """What the policy says of a tool."""
    if _matches(policy.deny, tool) or (policy.allow and not _matches((*policy.allow, *policy.ask), tool)):
        return "deny"
    return "ask" if _matches(policy.ask, tool) else "allow"


def shown(policy: ToolPolicy, knowledge: Knowledge) -> Knowledge:
    """What is known of a server without the tools that are denied."""
    tools = tuple(tool for tool in knowledge.tools if verdict(policy, str(tool["name"])) != "deny")
    return replace(knowledge, tools=tools)


def _matches(globs: Iterable[str], tool: str) -> bool:
    return any(fnmatchcase(tool, glob) for glob in globs)
