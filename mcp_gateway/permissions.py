"""Which tools are shown of a server and how, and whether a call of one may be made."""

from __future__ import annotations

from collections.abc import Iterable

from mcp_gateway import consent, trust
from mcp_gateway.caller import as_dict
from mcp_gateway.catalog import Catalog
from mcp_gateway.errors import ToolChanged, ToolDenied
from mcp_gateway.knowledge import Knowledge, Tool
from mcp_gateway.policy import Policy, policy_of
from mcp_gateway.registry import Entry, limits_of
from mcp_gateway.request import Request
from mcp_gateway.settings import Settings


class Permissions:
    """The rules of the user, and what of the servers is trusted."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        """Rules come from entries and settings, trust from the catalog."""
        self._settings = settings
        self._catalog = catalog

    def shown(self, entry: Entry, knowledge: Knowledge) -> Knowledge:
        """What a model may read of a server: no tool that is denied, and nothing that is not trusted."""
        return self._policy(entry).shown(self.trusted(entry, knowledge))

    def trusted(self, entry: Entry, knowledge: Knowledge) -> Knowledge:
        """The same with the tools that are denied."""
        return knowledge if entry.pin == "off" else self._catalog.trusted(entry, knowledge)

    def search(self, query: str, entries: Iterable[Entry]) -> list[tuple[str, Tool]]:
        """Known tools of these entries that match, the best first, as they may be shown."""
        asked = {entry.name: entry for entry in entries}
        policies = {name: self._policy(entry) for name, entry in asked.items()}

        def allowed(name: str, tool: Tool) -> bool:
            return policies[name].verdict(tool).says != "deny"

        hits = self._catalog.search(query, asked.values(), allowed)
        return [(name, tool) for name, hit in hits for tool in self._one(asked[name], hit).tools]

    def _one(self, entry: Entry, tool: Tool) -> Knowledge:
        """One tool as it may be shown, or none."""
        alone = Knowledge((tool,))
        trusted = alone if entry.pin == "off" else trust.as_trusted(alone, self._catalog.pins(entry))
        return self._policy(entry).shown(trusted)

    def check_name(self, entry: Entry, tool: str) -> None:
        """Let a call pass as far as the tool's name goes.

        Raises:
            ToolDenied: The rules deny it by its name alone.
        """
        denied = self._policy(entry).denied(tool)
        if denied is not None:
            raise ToolDenied(entry.name, tool, denied.why)

    async def permit(self, entry: Entry, tool: Tool, request: Request) -> None:
        """Let a call pass, where the rules and, if they say so, the user agree; `tool` is as it is shown.

        Raises:
            ToolDenied: One of them does not.
            ToolChanged: The tool is not what it was, and such tools are blocked.
        """
        verdict, name = self._policy(entry).verdict(tool), str(tool["name"])
        if verdict.says == "deny":
            raise ToolDenied(entry.name, name, verdict.why)
        if entry.pin == "block" and trust.is_changed(tool):
            raise ToolChanged(entry.name, name)
        if verdict.says == "ask":
            limit = limits_of(entry, self._settings).question
            wanted = consent.Wanted(entry.name, name, as_dict(request.params.get("arguments")), verdict.why)
            await consent.obtain(wanted, request.caller, limit)

    def _policy(self, entry: Entry) -> Policy:
        return policy_of(entry, self._settings)
