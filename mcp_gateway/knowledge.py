"""What is known of servers and their calls, as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from mcp_gateway.visible import visible

Era = Literal["modern", "handshake"]
"""2026-07-28 and later, asked with `server/discover`; or `initialize`, 2024-11-05 to 2025-11-25."""

Tool = Mapping[str, Any]
"""A tool exactly as its server lists it: `name`, `description`, `inputSchema`, `annotations`, …"""


@dataclass(frozen=True)
class Knowledge:
    """What one server said of itself.

    Attributes:
        tools: All its tools, in its order.
        prompts, resources, templates: The same of its prompts, resources and resource templates.
        capabilities: What it declares to have, by feature: `{"prompts": {"listChanged": true}, …}`.
        instructions: Its own words on how to use it; empty if it sends none.
        title: What it calls itself.
        tools_error: Why its tools could not be listed, if so.
        words_changed: Whether instructions and title are those that were trusted before, in place of its own.
    """

    tools: tuple[Tool, ...] = ()
    instructions: str = ""
    title: str = ""
    tools_error: str = ""
    prompts: tuple[Mapping[str, Any], ...] = ()
    resources: tuple[Mapping[str, Any], ...] = ()
    templates: tuple[Mapping[str, Any], ...] = ()
    capabilities: Mapping[str, Any] = field(default_factory=dict[str, Any])
    words_changed: bool = False

    def offers(self, feature: str, detail: str = "") -> bool:
        """Whether it declares a feature, or a detail of it such as `subscribe`."""
        declared: object = self.capabilities.get(feature)
        return isinstance(declared, dict) and (not detail or declared.get(detail) is True)  # pyright: ignore[reportUnknownMemberType]

    def tool(self, name: str) -> Tool | None:
        """The tool of that name, be it as the server writes it or as it is shown."""
        found = next((tool for tool in self.tools if tool.get("name") == name), None)
        return found or next((tool for tool in self.tools if shown_name(tool) == name), None)

    @cached_property
    def prompt_names(self) -> frozenset[str]:
        """The names of all prompts."""
        return frozenset(str(prompt["name"]) for prompt in self.prompts)

    @cached_property
    def uris(self) -> frozenset[str]:
        """The URIs of all resources."""
        return frozenset(str(resource["uri"]) for resource in self.resources)

    @property
    def names(self) -> list[str]:
        """The names of all tools, as they are shown."""
        return [shown_name(tool) for tool in self.tools]


@dataclass(frozen=True)
class Call:
    """One call of a tool, for the figures: seconds, and characters of JSON each way.

    `outcome` is `ok`, `error` (the tool said so), or the name of the gateway's own failure.
    """

    at: float
    server: str
    tool: str
    seconds: float
    outcome: str
    sent_chars: int
    received_chars: int


def shown_name(tool: Tool) -> str:
    """A tool's name without anything that nobody sees."""
    return visible(str(tool.get("name", ""))).replace("\n", "\\n").replace("\t", "\\t")


def definition_hash(tool: Tool) -> str:
    """A hash of all that a tool is defined by, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tool, sort_keys=True).encode()).hexdigest()
