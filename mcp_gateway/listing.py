"""What a server lists (tools, prompts, resources): all pages, within bounds, and what kept a list from being whole."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, Prompt, Resource, ResourceTemplate
from pydantic import BaseModel, ValidationError

from mcp_gateway import logs
from mcp_gateway.visible import one_line

logger = logging.getLogger(logs.LOGGER)

_LIST_LIMIT = 10.0
"""Seconds for the whole list; a server that cannot list its tools can still be called."""
_MAX_PAGES = 500
_NAME_CHARS = 2_000
"""Of a name or a URI; specification 2025-11-25 asks for at most 128 in the name of a tool."""
_SAID_CHARS = 300
_ITEM_CHARS = 500_000
_DEEPEST = 100
"""Levels of one item: what goes deeper is met by limits of recursion all over."""
_MAX_ITEMS = 5_000
_MAX_CHARS = 20_000_000
"""Of JSON in one list; the longest seen from a real server has 0.4 million."""

SendPage = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Sends one request for a page: method, parameters; raises `ClosedResourceError` where the connection is closed."""

Item = Mapping[str, Any]
"""A tool, prompt, resource or template exactly as its server lists it."""


@dataclass(frozen=True)
class Kind:
    """One of the lists of the protocol.

    Attributes:
        name: What the gateway calls it.
        method: Asks for a page.
        key: Where a page holds its items.
        identity: What names an item.
        feature: The capability of a server that has it.
        model: What an item has to be for clients of the gateway, where they are given it.
    """

    name: str
    method: str
    key: str
    identity: str
    feature: str
    model: type[BaseModel] | None = None


TOOLS = Kind("tools", "tools/list", "tools", "name", "tools")
OTHERS = (
    Kind("prompts", "prompts/list", "prompts", "name", "prompts", Prompt),
    Kind("resources", "resources/list", "resources", "uri", "resources", Resource),
    Kind("templates", "resources/templates/list", "resourceTemplates", "uriTemplate", "resources", ResourceTemplate),
)


async def list_all(kind: Kind, send: SendPage) -> tuple[tuple[Item, ...], str]:
    """The items exactly as they are listed, and why some may be missing; empty if none are.

    Raises:
        anyio.ClosedResourceError: The connection was closed.
    """
    items: list[Item] = []
    error = ""
    try:
        with anyio.fail_after(_LIST_LIMIT):
            room = _MAX_CHARS
            async for page in _pages(kind, send):
                found = _items_of(kind, page)
                room -= sum(len(str(item)) for item in found)
                items.extend(found[: _MAX_ITEMS - len(items)] if room >= 0 else ())
                if room < 0 or len(items) >= _MAX_ITEMS:
                    error = f"its list is longer than {_MAX_ITEMS:,} items or {_MAX_CHARS:,} characters"
                    break
    except MCPError as exc:
        if exc.code != METHOD_NOT_FOUND:  # some servers declare what they have no list of
            error = f"error {exc.code}: {one_line(exc.message, _SAID_CHARS)}"
    except TimeoutError:
        error = f"no answer to {kind.method} within {_LIST_LIMIT:g} s"
    alone = {item[kind.identity]: item for item in reversed(items)}
    if len(alone) < len(items):
        logger.warning("of %s that are listed twice under one name, the first counts", kind.name)
    return tuple(item for item in items if alone[item[kind.identity]] is item), error


async def _pages(kind: Kind, send: SendPage) -> AsyncIterator[dict[str, Any]]:
    """Page after page; a cursor that comes again ends it."""
    seen: set[str] = set()
    cursor = ""
    for _ in range(_MAX_PAGES):
        page = await send(kind.method, {"cursor": cursor} if cursor else {})
        yield page
        following = page.get("nextCursor")
        if not isinstance(following, str) or not following or following in seen:
            return
        seen.add(following)
        cursor = following


def _items_of(kind: Kind, page: Mapping[str, Any]) -> list[Item]:
    """What counts on a page: an object with a name."""
    listed = page.get(kind.key)
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    objects = [cast("Item", item) for item in items if isinstance(item, dict)]
    known = [item for item in objects if isinstance(item.get(kind.identity), str) and item[kind.identity]]
    named = [item for item in known if _reasonable(str(item[kind.identity]), item)]
    if len(named) < len(known):
        strange = len(known) - len(named)
        logger.warning("%d %s are left out: they are named, nested or sized like no real one", strange, kind.name)
    model = kind.model
    return named if model is None else [item for item in named if _valid(kind, model, item)]


def _reasonable(name: str, item: Item) -> bool:
    """Whether it can be shown; a name that is no text, or a schema without end, is of use to attackers alone."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return len(name) <= _NAME_CHARS and _depth(item) <= _DEEPEST and len(str(item)) <= _ITEM_CHARS


def _depth(value: object) -> int:
    """How deep lists and objects are nested, as far as it matters."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inside: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inside.extend(cast("dict[str, object]", one).values())
            elif isinstance(one, list):
                inside.extend(cast("list[object]", one))
        level, depth = inside, depth + 1
    return depth


def _valid(kind: Kind, model: type[BaseModel], item: Item) -> bool:
    """Whether a client would take it: its list holds those of all servers, and falls with one that it refuses."""
    try:
        model.model_validate(item, by_name=False)
    except ValidationError as exc:
        logger.warning("%s %r is left out: %s", kind.name, item[kind.identity], exc.errors(include_url=False)[0]["msg"])
        return False
    return True
