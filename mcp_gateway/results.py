"""Results as they go to the client: wire objects, not models, so that nothing in them is lost.

A result is what `tools/call` answers: `content`, `structuredContent`, `isError`, `_meta`, and whatever
a later revision adds. What a child sent is passed on as the same object, up to the budget of text; beyond
it the client gets the head, an honest count, and the call that reads on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from mcp_gateway.errors import GatewayError

Result = dict[str, Any]

_CONTEXT_CHARS = 200
_MOST_MATCHES = 20


def text_result(text: str, *, is_error: bool = False) -> Result:
    """A text of the gateway's own."""
    result: Result = {"content": [{"type": "text", "text": text}]}
    return {**result, "isError": True} if is_error else result


def failure(exc: GatewayError, redact: Callable[[str], str]) -> Result:
    """The one place where the tree of errors becomes a result."""
    return text_result(redact(str(exc)), is_error=True)


def refused(result: Result) -> bool:
    """Whether the child says that the call failed."""
    return result.get("isError") is True


def with_note(result: Result, note: str) -> Result:
    """The same result with a text of the gateway's behind what the child said."""
    return {**result, "content": [*_blocks(result), {"type": "text", "text": note}]}


def chars(result: Result) -> int:
    """Characters of what a result holds: text, and data as it is encoded."""
    return sum(len(str(block.get("text") or block.get("data") or "")) for block in _objects(result))


@dataclass(frozen=True)
class Head:
    """The beginning of a text that is too long.

    Attributes:
        text: A prefix of the whole, ended where it stays readable.
        items: How many whole items of a JSON list it shows, and of how many; None where it is no list.
    """

    text: str
    items: tuple[int, int] | None = None


def whole_text(result: Result) -> str:
    """All text of a result, block after block; the structured content where there is no text."""
    texts = [str(block.get("text", "")) for block in _objects(result) if block.get("type") == "text"]
    structured = result.get("structuredContent")
    if not any(texts) and structured is not None:
        return json.dumps(structured, ensure_ascii=False)
    return "\n".join(texts)


def over_budget(result: Result, budget: int) -> bool:
    """Whether text or structured content is longer than the budget allows; 0 allows everything."""
    if not budget:
        return False
    texts = sum(len(str(block.get("text", ""))) for block in _objects(result) if block.get("type") == "text")
    structured = result.get("structuredContent")
    return texts > budget or (structured is not None and len(json.dumps(structured)) > budget)


def shortened(result: Result, whole: str, budget: int, result_id: str | None) -> Result:
    """The result with the head of its text; images and the like pass, structured content goes with the text.

    `result_id` is where `whole` was kept; None where it could not be.
    """
    head = cut(whole, budget)
    others = [block for block in _blocks(result) if not _is_text(block)]
    kept = {key: value for key, value in result.items() if key != "structuredContent"}
    block = {"type": "text", "text": f"{head.text}\n{_notice(head, len(whole), result_id)}"}
    return {**kept, "content": [block, *others]}


def cut(text: str, budget: int) -> Head:
    """A prefix within the budget: whole items of a JSON list, else whole lines, else characters."""
    if len(text) <= budget:
        return Head(text)
    listed = _cut_items(text, budget)
    if listed is not None:
        return listed
    line = text.rfind("\n", budget // 2, budget)
    return Head(text[: line + 1] if line > 0 else text[:budget])


def _cut_items(text: str, budget: int) -> Head | None:
    """Items are found one by one, so that a text that only begins like a list is none."""
    start = re.match(r"\s*\[\s*", text)
    if start is None:
        return None
    decoder = json.JSONDecoder()
    ends: list[int] = []
    at = start.end()
    try:
        while text[at] != "]":
            _, at = decoder.raw_decode(text, at)
            ends.append(at)
            at = _after_comma(text, at)
    except (ValueError, IndexError, RecursionError):
        return None
    shown = sum(end <= budget for end in ends)
    return Head(text[: ends[shown - 1]], (shown, len(ends))) if shown else None


def _after_comma(text: str, at: int) -> int:
    match = re.compile(r"\s*,?\s*").match(text, at)
    return match.end() if match else at


def _notice(head: Head, whole: int, result_id: str | None) -> str:
    items = f", items 1-{head.items[0]} of {head.items[1]}" if head.items else ""
    shown = f"[Cut: characters 0-{len(head.text)} of {whole}{items}."
    if result_id is None:
        return f"{shown} The rest could not be kept; ask for less at once.]"
    reading = json.dumps({"id": result_id, "offset": len(head.text)})
    finding = json.dumps({"id": result_id, "pattern": "words"})
    return (
        f'{shown} Read on: call_mcp_tool("gateway", "read_result", {reading}); '
        f'or search it: call_mcp_tool("gateway", "read_result", {finding})]'
    )


def page(text: str, result_id: str, offset: int, limit: int) -> str:
    """A kept text from `offset`, and how to read on."""
    piece = text[offset : offset + limit]
    end = offset + len(piece)
    if end >= len(text):
        return f"{piece}\n[Characters {offset}-{end} of {len(text)}: the end.]"
    reading = json.dumps({"id": result_id, "offset": end})
    more = f'call_mcp_tool("gateway", "read_result", {reading})'
    return f"{piece}\n[Characters {offset}-{end} of {len(text)}. Read on: {more}]"


def matches(text: str, result_id: str, pattern: str) -> str:
    """Where a pattern stands in a kept text, with what stands around it; plain words, upper and lower case alike."""
    places = [match.start() for match in re.finditer(re.escape(pattern), text, re.IGNORECASE)]
    if not places:
        return f'"{pattern}" does not stand in {result_id}, which has {len(text)} characters.'
    parts = [f'"{pattern}" stands in {result_id} {len(places)} times:']
    shown_to = -1
    for place in places[:_MOST_MATCHES]:
        if place < shown_to:
            continue
        shown_to = min(len(text), place + len(pattern) + _CONTEXT_CHARS)
        parts.append(f"[at {place}] …{text[max(0, place - _CONTEXT_CHARS) : shown_to]}…")
    if len(places) > _MOST_MATCHES:
        parts.append(f"[{len(places) - _MOST_MATCHES} more; the first are shown]")
    return "\n".join(parts)


def _blocks(result: Result) -> list[Any]:
    content = result.get("content")
    return cast("list[Any]", content) if isinstance(content, list) else []


def _objects(result: Result) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", block) for block in _blocks(result) if isinstance(block, dict)]


def _is_text(block: object) -> bool:
    return isinstance(block, dict) and cast("dict[str, Any]", block).get("type") == "text"
