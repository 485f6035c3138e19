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
_SPACE = re.compile(r"[ \t\r\n]*")
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


def chars(result: Result, *, text_only: bool = False) -> int:
    """Characters of what a result holds: text, and, unless `text_only`, data as it is encoded."""
    blocks = _objects(result)
    texts = sum(len(str(block.get("text") or "")) for block in blocks)
    return texts if text_only else texts + sum(len(str(block.get("data") or "")) for block in blocks)


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
    """All text of a result, block after block."""
    return "\n".join(str(block.get("text", "")) for block in _objects(result) if _is_text(block))


def structured_text(result: Result) -> str:
    """The structured content as JSON; empty where there is none."""
    structured = result.get("structuredContent")
    return "" if structured is None else json.dumps(structured, ensure_ascii=False)


def over_budget(result: Result, budget: int) -> bool:
    """Whether text or structured content is longer than the budget allows; 0 allows everything."""
    return bool(budget) and (chars(result, text_only=True) > budget or len(structured_text(result)) > budget)


def shortened(result: Result, budget: int, keep: Callable[[str], str | None]) -> Result:
    """The result within its budget; images and the like pass.

    Too long a text is shown by its head, and structured content goes with it, for clients show that in place
    of the text. Where only the structured content is too long, it alone is left out. `keep` keeps a text and
    gives its id, or None where it cannot be kept.
    """
    kept = {key: value for key, value in result.items() if key != "structuredContent"}
    whole = whole_text(result)
    if len(whole) <= budget:
        structured = structured_text(result)
        return with_note(kept, _left_out(len(structured), keep(structured)))
    head = cut(whole, budget)
    others = [block for block in _blocks(result) if not _is_text(block)]
    block = {"type": "text", "text": f"{head.text}\n{_notice(head, len(whole), keep(whole))}"}
    return {**kept, "content": [block, *others]}


def _left_out(length: int, result_id: str | None) -> str:
    if result_id is None:
        return f"[Structured content of {length} characters was left out, and could not be kept.]"
    reading = json.dumps({"id": result_id})
    read = f'call_mcp_tool("gateway", "read_result", {reading})'
    return f"[Structured content of {length} characters was left out. Read it: {read}]"


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
    """Cuts a JSON list, or an object that holds a long one, after a whole item; None for any other text."""
    try:
        json.loads(text)
        ends = _item_ends(text, _long_list(text, budget))
    except (ValueError, IndexError, RecursionError):
        return None
    shown = sum(end <= budget for end in ends)
    return Head(text[: ends[shown - 1]], (shown, len(ends))) if shown else None


def _long_list(text: str, budget: int) -> int:
    """Where the list begins that reaches beyond the budget: the text itself, or a member of the object that it is.

    Raises:
        ValueError: There is none.
    """
    at = _skip(text, 0)
    if text[at] == "{":
        decoder = json.JSONDecoder()
        while text[at] != "}":
            _, key_end = decoder.raw_decode(text, _skip(text, at + 1))
            at = _skip(text, _skip(text, key_end) + 1)
            _, end = decoder.raw_decode(text, at)
            if end > budget:
                break
            at = _skip(text, end)
    if text[at] != "[":
        raise ValueError("no list reaches beyond the budget")
    return at


def _item_ends(text: str, start: int) -> list[int]:
    """Where each item of the list at `start` ends."""
    decoder = json.JSONDecoder()
    ends: list[int] = []
    at = start
    while text[at] != "]":
        at = _skip(text, at + 1)
        if text[at] != "]":
            _, at = decoder.raw_decode(text, at)
            ends.append(at)
            at = _skip(text, at)
    return ends


def _skip(text: str, at: int) -> int:
    """The next place that is no white space."""
    match = _SPACE.match(text, at)
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
