"""What one run of a server says of itself, learnt when it starts and kept up to date.

The tools come first, for calls wait for them; prompts, resources and templates follow while calls go on.
A list that cannot be had leaves what was known before.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import anyio
from mcp.client import ClientSession
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import find_invalid_x_mcp_header
from mcp_types import INTERNAL_ERROR

from mcp_gateway import logs
from mcp_gateway.catalog import Catalog
from mcp_gateway.errors import ProtocolRefusal
from mcp_gateway.knowledge import Knowledge
from mcp_gateway.listing import OTHERS, TOOLS, Item, Kind, SendPage, list_all
from mcp_gateway.registry import Entry

logger = logging.getLogger(logs.LOGGER)

_SETTLING = 0.5
"""Seconds to wait after a notice of changes for others: some servers send four at once."""

NOTICES = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
}
"""The feature whose lists have changed, by notification."""

OnChange = Callable[[str], None]
"""Told that the `prompts` or `resources` of a server are others than before."""


class Learner:
    """The knowledge of one run."""

    def __init__(self, entry: Entry, catalog: Catalog, send: SendPage, on_change: OnChange) -> None:
        """Ask by `send`; keep what is learnt in `catalog`."""
        self.knowledge: Knowledge | None = None
        self.whole = anyio.Event()
        """Set when every list has been asked for."""
        self._entry = entry
        self._catalog = catalog
        self._send = send
        self._on_change = on_change
        self._changed: set[str] = set()
        self._wake = anyio.Event()
        self._over_http = False

    async def introduce(self, session: ClientSession) -> None:
        """Learn what calls need: the tools, and what the server says of itself."""
        info = session.server_info
        title = (info.title or info.name) if info else ""
        self._over_http = self._entry.kind != "stdio" and session.discover_result is not None
        tools, error = await self._tools()
        before = self._catalog.recall(self._entry)
        if before is not None and error and not tools:
            tools = before.tools
        known = before or Knowledge()
        self._learn(
            replace(
                known,
                tools=tools,
                instructions=session.instructions or "",
                title=title,
                tools_error=error,
                capabilities=_capabilities(session),
            )
        )

    async def complete(self) -> None:
        """Learn the other lists."""
        try:
            await self._relist_others({kind.feature for kind in OTHERS})
        finally:
            self.whole.set()

    def note(self, method: str) -> None:
        """Take in a notice that lists have changed."""
        if method in NOTICES:
            self._changed.add(NOTICES[method])
            self._wake.set()

    async def relist_tools(self, *, again: bool = False) -> None:
        """Ask for the tools again, if there is a reason to: they changed, could not be listed, or `again`."""
        known = self.knowledge
        if known is None or not ("tools" in self._changed or known.tools_error or again):
            return
        self._changed.discard("tools")
        with suppress(MCPError, anyio.ClosedResourceError):
            tools, error = await self._tools()
            known = self.knowledge or known
            self._learn(replace(known, tools=tools or known.tools if error else tools, tools_error=error))

    async def _tools(self) -> tuple[tuple[Item, ...], str]:
        """The tools, without those that must not be called: specification 2026-07-28, transports, `x-mcp-header`."""
        tools, error = await list_all(TOOLS, self._send)
        if not self._over_http:
            return tools, error
        wrong = {str(tool["name"]): find_invalid_x_mcp_header(tool.get("inputSchema")) for tool in tools}
        for name, why in wrong.items():
            if why:
                logger.warning("%s: its tool %s is left out: %s", self._entry.name, name, why)
        return tuple(tool for tool in tools if not wrong[str(tool["name"])]), error

    async def keep_fresh(self) -> None:
        """Learn changed lists anew, once for many notices that come together."""
        await self.complete()
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            await anyio.sleep(_SETTLING)
            features, self._changed = self._changed, set()
            await self.relist_tools(again="tools" in features)
            await self._relist_others(features)

    async def _relist_others(self, features: set[str]) -> None:
        for kind in OTHERS:
            if kind.feature in features:
                with suppress(MCPError, anyio.ClosedResourceError):
                    await self._relist(kind)

    async def _relist(self, kind: Kind) -> None:
        known = self.knowledge or Knowledge()
        items: tuple[Item, ...] = ()
        if kind.feature in known.capabilities:
            items, error = await list_all(kind, self._send)
            if error:
                logger.info("%s: its %s cannot be listed: %s", self._entry.name, kind.name, error)
                return
        known = self.knowledge or known
        if items != getattr(known, kind.name):
            self._learn(replace(known, **{kind.name: items}))
            self._on_change(kind.feature)

    def _learn(self, knowledge: Knowledge) -> None:
        if knowledge != self.knowledge:
            self.knowledge = knowledge
            self._catalog.remember(self._entry, knowledge)

    async def listen(self, session: ClientSession) -> None:
        """Have a 2026-07-28 server tell of changes, which it does only for those who ask."""
        known = self.knowledge or Knowledge()
        wanted = {
            f"{feature}_list_changed": True
            for feature in ("tools", "prompts", "resources")
            if known.offers(feature, "listChanged")
        }
        try:
            if wanted:
                async with following(session, math.inf, **wanted) as lasts:
                    await lasts()
        except ProtocolRefusal as exc:
            logger.info("%s: no news of changes: %s", self._entry.name, exc)


@asynccontextmanager
async def following(
    session: ClientSession, seconds: float, **wanted: Any
) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """Holds a stream of a 2026-07-28 server's notices open; yields what waits for its end.

    The notices arrive as notifications.

    Raises:
        ProtocolRefusal: The server does not open it.
    """
    try:
        async with AsyncExitStack() as stack:
            with anyio.fail_after(seconds):
                events = await stack.enter_async_context(listen(session, **wanted))

            async def lasts() -> None:
                with suppress(SubscriptionLost):
                    async for _ in events:
                        pass

            yield lasts
    except MCPError as exc:
        raise ProtocolRefusal(exc.code, exc.message, exc.data) from exc
    except (SubscriptionLost, TimeoutError) as exc:
        raise ProtocolRefusal(INTERNAL_ERROR, str(exc)) from exc


def _capabilities(session: ClientSession) -> Mapping[str, Any]:
    declared = session.server_capabilities
    return declared.model_dump(by_alias=True, mode="json", exclude_none=True) if declared is not None else {}
