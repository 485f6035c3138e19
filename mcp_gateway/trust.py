"""Trust on first use: what a server said first is pinned, and what it says later in its place is not passed on.

A tool's definition is shown to models as if the user had written it, so a server that changes one after it was
taken in ("rug pull") speaks with the user's voice. A changed tool is shown by its new parameters, for it must be
callable, with the words that were trusted and none of the new ones. Takes values and gives values.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from mcp_gateway.caller import as_dict
from mcp_gateway.knowledge import Knowledge, Tool, definition_hash
from mcp_gateway.visible import visible

WORDS = ""
"""The key of a server's own words among its pins; no tool has an empty name."""
CHANGED = "mcp-gateway/changed"
"""Marks a tool that is shown in place of one that is not trusted."""
MARK = "[changed, not yet trusted]"

_PINNED = ("title", "description", "inputSchema", "outputSchema", "annotations")
_PLAIN = re.compile(r"[\w.$@#/+-]{1,64}")
"""A name or a value that can hardly be a sentence."""
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")
_VALUES = (
    "type", "enum", "const", "default", "format", "$ref", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "x-mcp-header",
)  # fmt: skip
_DEEPEST = 24


@dataclass(frozen=True)
class Pin:
    """What is trusted under one key: its hash, and the definition itself for a person to compare."""

    hash: str
    definition: Mapping[str, Any]


Pins = Mapping[str, Pin]
"""By the name of the tool, and `WORDS`."""


@dataclass(frozen=True)
class Change:
    """One definition that is not what was trusted.

    Attributes:
        fingerprint: Of the entry under which it was seen.
        key: The tool, or `WORDS`.
        before, now: What is trusted, and what the server says.
    """

    fingerprint: str
    key: str
    before: Pin
    now: Pin

    def difference(self) -> str:
        """Both, line by line, as `diff -u` shows it."""
        old, new = (_lines(pin.definition) for pin in (self.before, self.now))
        return "\n".join(difflib.unified_diff(old, new, "trusted", "now", lineterm="", n=2))


def _lines(definition: Mapping[str, Any]) -> list[str]:
    """A definition as lines; a text of many lines keeps them."""
    text = visible(json.dumps(definition, indent=2, ensure_ascii=False, sort_keys=True))
    return [part for line in text.split("\n") for part in line.replace("\\n", "\\n\n    ").split("\n")]


def pin_of(definition: Mapping[str, Any]) -> Pin:
    """A definition as it is pinned."""
    return Pin(definition_hash(definition), definition)


def pins_of(knowledge: Knowledge) -> dict[str, Pin]:
    """Everything of a server that is pinned."""
    words = {"instructions": knowledge.instructions, "title": knowledge.title}
    tools = {str(tool["name"]): {key: tool[key] for key in _PINNED if key in tool} for tool in knowledge.tools}
    return {key: pin_of(definition) for key, definition in {WORDS: words, **tools}.items()}


def changes(fingerprint: str, known: Knowledge, pins: Pins) -> list[Change]:
    """What is not as it was trusted."""
    now = pins_of(known)
    return [Change(fingerprint, key, pins[key], now[key]) for key in now if key in pins and pins[key] != now[key]]


def as_trusted(knowledge: Knowledge, pins: Pins) -> Knowledge:
    """What may be shown of a server: everything as it is, but for what is not as it was trusted."""
    changed = {change.key: change.before for change in changes("", knowledge, pins)}
    if not changed:
        return knowledge
    tools = tuple(_guarded(tool, changed.get(str(tool["name"]))) for tool in knowledge.tools)
    if WORDS in changed:
        words = changed[WORDS].definition
        knowledge = replace(
            knowledge, instructions=str(words["instructions"]), title=str(words["title"]), words_changed=True
        )
    return replace(knowledge, tools=tools)


def is_changed(tool: Tool) -> bool:
    """Whether a tool is shown in place of one that is not trusted."""
    return tool.get(CHANGED) is True


def counted_changes(knowledge: Knowledge) -> int:
    """How much of a server is shown in place of what is not trusted."""
    return sum(map(is_changed, knowledge.tools)) + knowledge.words_changed


def _guarded(tool: Tool, pin: Pin | None) -> Tool:
    """A changed tool: its own parameters without words, and the words that were trusted."""
    if pin is None:
        return tool
    before, hints = as_dict(pin.definition.get("annotations")), as_dict(tool.get("annotations"))
    shown: dict[str, Any] = {"name": tool["name"], "inputSchema": bare(tool.get("inputSchema")), CHANGED: True}
    agreed = {key: value for key, value in hints.items() if isinstance(value, bool) and before.get(key) is value}
    words = {key: pin.definition[key] for key in ("title", "description") if key in pin.definition}
    kept = {"execution": tool["execution"]} if "execution" in tool else {}
    return {**shown, **words, **kept, "annotations": agreed}


def bare(schema: object, depth: int = 0) -> Any:
    """A schema by its structure alone: names, types and bounds, and no value that could be a sentence."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return schema if isinstance(schema, bool) else {}
    known = cast("dict[str, Any]", schema)
    kept: dict[str, Any] = {key: known[key] for key in _VALUES if key in known and _plain(known[key])}
    if isinstance(known.get("required"), list):
        kept["required"] = [name for name in known["required"] if isinstance(name, str) and _plain(name)]
    kept.update({key: bare(known[key], depth + 1) for key in _SCHEMAS if key in known})
    for key in _LISTS:
        if isinstance(known.get(key), list):
            kept[key] = [bare(part, depth + 1) for part in known[key]]
    for key in _NAMED:
        members = {name: part for name, part in as_dict(known.get(key)).items() if _PLAIN.fullmatch(name)}
        if members:
            kept[key] = {name: bare(part, depth + 1) for name, part in members.items()}
    return kept


def _plain(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_plain, cast("list[object]", value)))
    return bool(_PLAIN.fullmatch(value)) if isinstance(value, str) else not isinstance(value, dict)
