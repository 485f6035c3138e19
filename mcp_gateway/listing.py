"""The tools of a server: all pages of its list, within bounds, and what kept it from being whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, METHOD_NOT_FOUND

from mcp_gateway.knowledge import Tool

_LIST_LIMIT = 10.0
"""Seconds for the whole list; a server that cannot list its tools can still be called."""
_MAX_PAGES = 500

ListPage = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Sends one `tools/list` with these parameters."""


async def list_tools(send: ListPage) -> tuple[tuple[Tool, ...], str]:
    """The tools exactly as they are listed, and why some may be missing; empty if none are.

    Raises:
        MCPError: The connection was closed.
    """
    tools: list[Tool] = []
    error = ""
    try:
        with anyio.fail_after(_LIST_LIMIT):
            async for page in _pages(send):
                tools.extend(_tools_of(page))
    except MCPError as exc:
        if exc.code == CONNECTION_CLOSED:
            raise
        if exc.code != METHOD_NOT_FOUND:  # some servers declare tools and have no list of them
            error = f"error {exc.code}: {exc.message}"
    except TimeoutError:
        error = f"no answer to tools/list within {_LIST_LIMIT:g} s"
    return tuple(tools), error


async def _pages(send: ListPage) -> AsyncIterator[dict[str, Any]]:
    """Page after page; a cursor that comes again ends it."""
    seen: set[str] = set()
    cursor = ""
    for _ in range(_MAX_PAGES):
        page = await send({"cursor": cursor} if cursor else {})
        yield page
        following = page.get("nextCursor")
        if not isinstance(following, str) or not following or following in seen:
            return
        seen.add(following)
        cursor = following


def _tools_of(page: Mapping[str, Any]) -> list[Tool]:
    """What is a tool on a page: an object with a name."""
    listed = page.get("tools")
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    tools = [cast("Tool", item) for item in items if isinstance(item, dict)]
    return [tool for tool in tools if isinstance(tool.get("name"), str) and tool["name"]]
