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
_NAME = re.compile(r"[A-Za-z$@_][A-Za-z0-9._$@/-]{0,39}")
_MOST_SEPARATORS = 4
_MOST_NAMES = 60
"""A new name of a parameter is shown if it can hardly be a sentence, and so many of them."""
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")
_NUMBERS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems",
    "maxItems", "uniqueItems",
)  # fmt: skip
_VALUES = ("enum", "const", "default", "format")
_DEEPEST = 24

MOST_PINS = 2_000
"""Of one server; tools beyond them are shown as those that have changed, without any words."""
MOST_CHARS = 20_000
"""Of a definition that is kept to be compared; of a longer one only its hash is."""


@dataclass(frozen=True)
class Pin:
    """What is trusted under one key: its hash, and the definition for a person to compare, unless it is too long."""

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
        before: What is trusted.
        now: What the server says, whole, however long it is.
    """

    fingerprint: str
    key: str
    before: Pin
    now: Mapping[str, Any]

    def difference(self) -> str:
        """Both, line by line, as `diff -u` shows it; of what was too long to be kept, all that is there now."""
        old, new = _lines(self.before.definition), _lines(self.now)
        return "\n".join(difflib.unified_diff(old, new, "trusted", "now", lineterm="", n=2))


def _lines(definition: Mapping[str, Any]) -> list[str]:
    """A definition as lines; a text of many lines keeps them."""
    text = visible(json.dumps(definition, indent=2, ensure_ascii=False, sort_keys=True))
    return [part for line in text.split("\n") for part in line.replace("\\n", "\\n\n    ").split("\n")]


def pin_of(definition: Mapping[str, Any]) -> Pin:
    """A definition as it is pinned."""
    text = json.dumps(definition)
    digest = definition_hash(definition)
    return Pin(digest, definition) if len(text) <= MOST_CHARS else Pin(digest, {})


def _pinned(tool: Tool) -> dict[str, Any]:
    return {key: tool[key] for key in _PINNED if key in tool}


def _definitions(knowledge: Knowledge) -> dict[str, dict[str, Any]]:
    """Everything of a server that is pinned, by its key."""
    words = {"instructions": knowledge.instructions, "title": knowledge.title}
    return {WORDS: words, **{str(tool["name"]): _pinned(tool) for tool in knowledge.tools}}


def pins_of(knowledge: Knowledge) -> dict[str, Pin]:
    """The same as it is pinned."""
    return {key: pin_of(definition) for key, definition in _definitions(knowledge).items()}


def new_pins(now: Pins, known: Pins) -> dict[str, Pin]:
    """What is seen for the first time, as far as there is room for it."""
    new = [key for key in now if key not in known]
    return {key: now[key] for key in new[: max(MOST_PINS - len(known), 0)]}


def changes(fingerprint: str, known: Knowledge, pins: Pins) -> list[Change]:
    """What is not as it was trusted."""
    found: list[Change] = []
    for key, definition in _definitions(known).items():
        pin = _pin_for(key, pins)
        if pin is not None and pin.hash != definition_hash(definition):
            found.append(Change(fingerprint, key, pin, definition))
    return found


def _pin_for(key: str, pins: Pins) -> Pin | None:
    """What is trusted under a key; nothing is of a tool that was never pinned, for there was no room."""
    return pins.get(key) or (Pin("", {}) if len(pins) >= MOST_PINS else None)


def as_trusted(knowledge: Knowledge, pins: Pins) -> Knowledge:
    """What may be shown of a server: everything as it is, but for what is not as it was trusted."""
    tools = tuple(_guarded(tool, _pin_for(str(tool["name"]), pins)) for tool in knowledge.tools)
    words = pins.get(WORDS)
    own = {"instructions": knowledge.instructions, "title": knowledge.title}
    if words is not None and words.hash != pin_of(own).hash:
        before = {key: str(words.definition.get(key, "")) for key in own}
        return replace(knowledge, tools=tools, words_changed=True, **before)
    same = all(new is old for new, old in zip(tools, knowledge.tools, strict=True))
    return knowledge if same else replace(knowledge, tools=tools)


def is_changed(tool: Tool) -> bool:
    """Whether a tool is shown in place of one that is not trusted."""
    return tool.get(CHANGED) is True


def counted_changes(knowledge: Knowledge) -> int:
    """How much of a server is shown in place of what is not trusted."""
    return sum(map(is_changed, knowledge.tools)) + knowledge.words_changed


def _guarded(tool: Tool, pin: Pin | None) -> Tool:
    """A tool as it is if it is trusted; else its own parameters without words, and the words that were trusted."""
    if pin is None or pin.hash == pin_of(_pinned(tool)).hash:
        return tool
    before, hints = as_dict(pin.definition.get("annotations")), as_dict(tool.get("annotations"))
    shown: dict[str, Any] = {"name": tool["name"], "inputSchema": bare(tool.get("inputSchema"), pin), CHANGED: True}
    agreed = {key: value for key, value in hints.items() if isinstance(value, bool) and before.get(key) is value}
    words = {key: pin.definition[key] for key in ("title", "description") if key in pin.definition}
    kept = {"execution": tool["execution"]} if "execution" in tool else {}
    return {**shown, **words, **kept, "annotations": agreed}


def bare(schema: object, pin: Pin) -> Any:
    """A schema by its structure alone, and of names and values those that were trusted or can hardly be a sentence."""
    return _Bare(_texts(pin.definition)).schema(schema)


def _texts(value: object) -> set[str]:
    """All texts in a definition, and the names in it."""
    found: set[str] = set()
    left: list[object] = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.add(one)
        elif isinstance(one, Mapping):
            known = cast("Mapping[str, object]", one)
            found.update(known)
            left.extend(known.values())
        elif isinstance(one, list):
            left.extend(cast("list[object]", one))
    return found


class _Bare:
    """Lays a schema bare."""

    def __init__(self, trusted: set[str]) -> None:
        self._trusted = trusted
        self._names = _MOST_NAMES

    def schema(self, schema: object, depth: int = 0) -> Any:
        """The same structure without anything that could be a sentence."""
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return schema if isinstance(schema, bool) else {}
        known = cast("dict[str, Any]", schema)
        kept = self._own(known)
        kept.update({key: self.schema(known[key], depth + 1) for key in _SCHEMAS if key in known})
        for key in _LISTS:
            if isinstance(known.get(key), list):
                kept[key] = [self.schema(part, depth + 1) for part in known[key]]
        for key in _NAMED:
            members = {name: part for name, part in as_dict(known.get(key)).items() if self._is_name(name)}
            if members:
                kept[key] = {name: self.schema(part, depth + 1) for name, part in members.items()}
        return kept

    def _own(self, known: dict[str, Any]) -> dict[str, Any]:
        """What a schema says of a value itself."""
        kept: dict[str, Any] = {key: known[key] for key in _NUMBERS if isinstance(known.get(key), int | float)}
        kinds = _listed(known.get("type"))
        if kinds and all(isinstance(kind, str) and kind in _TYPES for kind in kinds):
            kept["type"] = known["type"]
        header = known.get("x-mcp-header")
        if isinstance(header, str) and self._is_name(header):
            kept["x-mcp-header"] = header
        kept.update({key: known[key] for key in _VALUES if key in known and all(map(self._known, _listed(known[key])))})
        reference = known.get("$ref")
        if isinstance(reference, str) and all(map(self._is_name, reference.removeprefix("#/").split("/"))):
            kept["$ref"] = reference
        if isinstance(known.get("required"), list):
            kept["required"] = [name for name in known["required"] if isinstance(name, str) and self._is_name(name)]
        return kept

    def _known(self, value: object) -> bool:
        return value in self._trusted if isinstance(value, str) else not isinstance(value, dict | list)

    def _is_name(self, name: str) -> bool:
        if name in self._trusted:
            return True
        if not _NAME.fullmatch(name) or len(re.findall(r"[^A-Za-z0-9]", name)) > _MOST_SEPARATORS or not self._names:
            return False
        self._trusted.add(name)
        self._names -= 1
        return True


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]
