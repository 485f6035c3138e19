"""Prompts and resources of all known servers, as one: listed from the catalog, asked for where they are owned.

A prompt is named `server__prompt`. A resource keeps its own URI; it belongs to the server that lists it, else to
the one in whose result it stood, else to the one whose template it fits best.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, cast

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from mcp_gateway.caller import Caller, Json, as_dict
from mcp_gateway.errors import BadParameters, UnknownPrompt, UnknownResource
from mcp_gateway.knowledge import Knowledge
from mcp_gateway.listing import OTHERS, Item, Kind
from mcp_gateway.pool import Pool
from mcp_gateway.relay import converse
from mcp_gateway.request import Request
from mcp_gateway.results import Result
from mcp_gateway.search import near_names

JOINT = "__"
_ENVELOPE = {"_meta", "inputResponses", "requestState"}
"""Parameters that `Caller` has taken apart."""
_PAGE = 250
_MOST_LINKS = 10_000
"""Resources in results whose server is remembered."""

LISTS = {kind.method: kind for kind in OTHERS}


class Offers:
    """What the servers of a pool offer beside their tools."""

    def __init__(self, pool: Pool) -> None:
        """Speak of the servers of `pool`."""
        self._pool = pool
        self._links: OrderedDict[str, str] = OrderedDict()

    def page(self, method: str, params: Json) -> Result:
        """One page of the prompts, resources or templates of all servers.

        Raises:
            BadParameters: The cursor is none of ours.
        """
        kind = LISTS[method]
        cursor = params.get("cursor") or "0"
        if not isinstance(cursor, str) or not cursor.isdecimal():
            raise BadParameters(method, "that cursor is not one of this server's", f"{method} without a cursor")
        items, begin = self._items(kind), int(cursor)
        page: Result = {kind.key: items[begin : begin + _PAGE]}
        return {**page, "nextCursor": str(begin + _PAGE)} if begin + _PAGE < len(items) else page

    def _items(self, kind: Kind) -> list[Item]:
        """All items of a kind; of those with one identity the first alone, for it is the one that is reached."""
        items: dict[str, Item] = {}
        for server, known in self._known():
            for item in cast("tuple[Item, ...]", getattr(known, kind.name)):
                named = {**item, "name": f"{server}{JOINT}{item['name']}"} if kind.name == "prompts" else item
                items.setdefault(str(named[kind.identity]), named)
        return list(items.values())

    def _known(self) -> Iterator[tuple[str, Knowledge]]:
        for name, entry in self._pool.registry.entries.items():
            known = self._pool.known(entry) if entry.usable else None
            if known is not None:
                yield name, known

    def complete_anything(self) -> bool:
        """Whether any known server completes arguments."""
        return any(known.offers("completions") for _, known in self._known())

    async def get_prompt(self, params: Json, caller: Caller) -> Result:
        """A prompt of a server.

        Raises:
            GatewayError: See the tree in `errors`.
        """
        server, prompt = self._prompt(str(params.get("name") or ""))
        return await self._send(server, "prompts/get", {**params, "name": prompt}, caller)

    async def read_resource(self, params: Json, caller: Caller) -> Result:
        """The contents of a resource.

        Raises:
            GatewayError: See the tree in `errors`.
        """
        server = self.owner(str(params.get("uri") or ""))
        result = await self._send(server, "resources/read", params, caller)
        self.note_links(server, result.get("contents"))
        return result

    async def complete(self, params: Json, caller: Caller) -> Result:
        """Completions of an argument, by the server that owns the prompt or template.

        Raises:
            GatewayError: See the tree in `errors`.
        """
        ref = as_dict(params.get("ref"))
        if ref.get("type") == "ref/prompt":
            server, prompt = self._prompt(str(ref.get("name") or ""))
            asked = {**params, "ref": {**ref, "name": prompt}}
        else:
            server, asked = self.owner(str(ref.get("uri") or "")), dict(params)
        known = self._pool.known(self._pool.entry(server))
        if known is not None and not known.offers("completions"):
            return {"completion": {"values": []}}
        return await self._send(server, "completion/complete", asked, caller)

    async def _send(self, server: str, method: str, params: Json, caller: Caller) -> Result:
        sent = {key: value for key, value in params.items() if key not in _ENVELOPE}
        meta: dict[str, Any] = {"_meta": dict(caller.meta)} if caller.meta else {}

        async def send(answers: Json) -> Result:
            request = Request(method, {**sent, **answers, **meta}, caller)
            return await self._pool.send(server, lambda _: request, caller)

        return await converse(server, send, caller)

    def _prompt(self, name: str) -> tuple[str, str]:
        """The server of a prompt, and its name there."""
        servers = [server for server in self._pool.registry.entries if name.startswith(f"{server}{JOINT}")]
        if not servers:
            names = [str(item["name"]) for item in self._items(LISTS["prompts/list"])]
            raise UnknownPrompt(name, near_names(name, names))
        ways = [(server, name.removeprefix(f"{server}{JOINT}")) for server in sorted(servers, key=len, reverse=True)]
        known = dict(self._known())
        return next((way for way in ways if way[0] in known and way[1] in known[way[0]].prompt_names), ways[0])

    def owner(self, uri: str) -> str:
        """The server that owns a resource.

        Raises:
            UnknownResource: None is known to.
        """
        servers = dict(self._known())
        listed = next((name for name, known in servers.items() if uri in known.uris), "")
        linked = self._links.get(uri, "")
        found = listed or (linked if linked in self._pool.registry.entries else "") or _best_fit(uri, servers)
        if not found:
            raise UnknownResource(uri)
        return found

    def note_links(self, server: str, blocks: object) -> None:
        """Remember whose resources stand in a result: links, embedded ones and contents."""
        for block in cast("list[object]", blocks) if isinstance(blocks, list) else []:
            for uri in _uris(block):
                self._links[uri] = server
                self._links.move_to_end(uri)
        while len(self._links) > _MOST_LINKS:
            self._links.popitem(last=False)


def _uris(block: object) -> Iterator[str]:
    fields = as_dict(block)
    yield from (uri for uri in (fields.get("uri"), as_dict(fields.get("resource")).get("uri")) if isinstance(uri, str))


def _best_fit(uri: str, servers: Mapping[str, Knowledge]) -> str:
    """The server that has the template itself, or else the one with the longest literal beginning that fits."""
    fits = [
        (template == uri, len(template.partition("{")[0]), server)
        for server, known in servers.items()
        for template in (str(item["uriTemplate"]) for item in known.templates)
        if template == uri or _fits(template, uri)
    ]
    return max(fits, key=lambda fit: fit[:2])[2] if fits else ""


def _fits(template: str, uri: str) -> bool:
    try:
        return UriTemplate.parse(template).match(uri) is not None
    except InvalidUriTemplate:
        return False
