"""JSON Schema 2020-12 as one line that a model reads without doubt; takes values and gives values.

`search(query: string, limit?: integer 1..100 = 10, sort?: "asc" | "desc")`: required parameters stand
before optional ones, which have a `?`; what does not fit is shown as `…`, never dropped silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

from mcp_gateway.knowledge import shown_name
from mcp_gateway.visible import visible

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_MAX_NODES = 400
"""Schemas looked at for one signature; references can make a small schema grow without end."""
_MAX_DEPTH = 5
_MOST_DIGITS = 6
_MAX_VALUES = 12
_MAX_CHARS = 1_500
_VALUE_CHARS = 40
_SUMMARY_CHARS = 140
_SHORTEST_SENTENCE = 20
_NO_BOUNDS = (2**53 - 1, -(2**53 - 1), 2**63 - 1, -(2**63))
"""What generators write for any integer."""

Schema = Mapping[str, Any]


def signature(tool: Mapping[str, Any]) -> str:
    """The tool as one line: its name and its parameters with their types; `…` for a schema that cannot be read."""
    try:
        parameters = _Printer(_object(tool.get("inputSchema"))).parameters()
    except Exception:  # noqa: BLE001 - a schema may be anything, and one must not keep those of others from being shown
        parameters = "…"
    line = f"{shown_name(tool)}({visible(_CONTROL.sub(' ', parameters[:_MAX_CHARS]))})"
    return line if len(line) <= _MAX_CHARS else line[: _MAX_CHARS - 2] + "…)"


def summary(tool: Mapping[str, Any]) -> str:
    """The first sentence of the tool's description, on one line."""
    words = str(tool.get("description") or tool.get("title") or "")[: 8 * _SUMMARY_CHARS].split()
    text = visible(" ".join(words))
    ends = (text.find(stop, _SHORTEST_SENTENCE) for stop in (". ", "! ", "? "))
    end = min((at for at in ends if at >= 0), default=len(text))
    first = text[: end + 1].rstrip(".")
    return first if len(first) <= _SUMMARY_CHARS else first[: _SUMMARY_CHARS - 1].rstrip() + "…"


def notes(tool: Mapping[str, Any]) -> list[str]:
    """What the tool says of each parameter, as lines `name: text`."""
    properties = _object(_object(tool.get("inputSchema")).get("properties"))
    lines: list[str] = []
    for name, schema in properties.items():
        text = " ".join(str(_object(schema).get("description") or "").split())
        if text:
            lines.append(visible(f"{name}: {text}"))
    return lines


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _element(items: object, index: str) -> object:
    known = _list(items)
    short = index.isascii() and index.isdecimal() and len(index) <= _MOST_DIGITS
    return known[int(index)] if short and int(index) < len(known) else None


def _literal(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 1] + "…"


class _Printer:
    """Prints the schemas of one tool, within bounds."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._nodes = _MAX_NODES

    def parameters(self) -> str:
        """The root schema as a list of parameters."""
        parts = list(self._members(self._root, 0, ()))
        choices = [self._union(self._root, key, 1, ()) for key in ("anyOf", "oneOf") if self._root.get(key)]
        choices += [self._type(part, 1, ()) for part in _list(self._root.get("allOf"))]
        if isinstance(reference := self._root.get("$ref"), str):
            choices.append(self._reference(reference, 0, ()))
        return " & ".join([", ".join(parts), *choices] if parts else choices)

    def _members(self, schema: Schema, depth: int, open_refs: tuple[str, ...]) -> Iterator[str]:
        properties = _object(schema.get("properties"))
        parts = [schema, *(_object(part) for part in _list(schema.get("allOf")))]
        listed = [name for part in parts for name in _list(part.get("required")) if isinstance(name, str)]
        required = dict.fromkeys(listed)
        names = [*required, *(name for name in properties if name not in required)]
        for name in names[: max(self._nodes, 0) + 1]:
            mark = "" if name in required else "?"
            yield f"{_key(name)}{mark}: {self._typed(properties.get(name, True), depth, open_refs)}"
        for pattern, sub in _object(schema.get("patternProperties")).items():
            yield f"[/{pattern}/]: {self._type(sub, depth + 1, open_refs)}"
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and extra:
            yield f"[key]: {self._type(cast('Schema', extra), depth + 1, open_refs)}"
        elif properties and (extra is True or extra == {}):
            yield "…any"

    def _typed(self, schema: object, depth: int, open_refs: tuple[str, ...]) -> str:
        text = self._type(schema, depth + 1, open_refs)
        default = _object(schema).get("default")
        return text if default is None else f"{text} = {_literal(default)}"

    def _type(self, schema: object, depth: int, open_refs: tuple[str, ...]) -> str:
        self._nodes -= 1
        if self._nodes < 0 or depth > _MAX_DEPTH:
            return "…"
        known = _object(schema)
        if not known:
            return "never" if schema is False else "any"
        if "const" in known:
            return _literal(known["const"])
        if isinstance(known.get("enum"), list):
            return _values(known["enum"])
        if isinstance(reference := known.get("$ref"), str):
            return self._reference(reference, depth, open_refs)
        return self._composed(known, depth, open_refs)

    def _composed(self, schema: Schema, depth: int, open_refs: tuple[str, ...]) -> str:
        parts = [self._union(schema, key, depth, open_refs) for key in ("anyOf", "oneOf") if schema.get(key)]
        parts += [self._type(part, depth + 1, open_refs) for part in _list(schema.get("allOf"))]
        if "type" in schema or "properties" in schema or not parts:
            parts.insert(0, self._plain(schema, depth, open_refs))
        parts = list(dict.fromkeys(parts))
        return " & ".join(f"({part})" if " | " in part and len(parts) > 1 else part for part in parts)

    def _union(self, schema: Schema, key: str, depth: int, open_refs: tuple[str, ...]) -> str:
        options = [self._type(option, depth + 1, open_refs) for option in _list(schema[key])]
        return " | ".join(dict.fromkeys(options)) or "any"

    def _plain(self, schema: Schema, depth: int, open_refs: tuple[str, ...]) -> str:
        kinds = schema.get("type")
        if isinstance(kinds, list):
            each = [self._plain({**schema, "type": kind}, depth, open_refs) for kind in cast("list[Any]", kinds)]
            return " | ".join(dict.fromkeys(each)) or "any"
        if kinds == "array" or (kinds is None and "items" in schema):
            return self._array(schema, depth, open_refs)
        if kinds is None and "properties" not in schema and isinstance(schema.get("required"), list):
            return f"with {', '.join(map(str, _list(schema['required'])))}"
        if kinds == "object" or (kinds is None and "properties" in schema):
            members = ", ".join(self._members(schema, depth, open_refs))
            return f"{{{members}}}" if members else "object"
        return f"{kinds or 'any'}{_constraints(schema)}"

    def _array(self, schema: Schema, depth: int, open_refs: tuple[str, ...]) -> str:
        if first := _list(schema.get("prefixItems")):
            return f"[{', '.join(self._type(item, depth + 1, open_refs) for item in first)}]"
        item = self._type(schema.get("items", True), depth + 1, open_refs)
        items = f"({item})[]" if " | " in item or " & " in item else f"{item}[]"
        return f"{items}{_span(schema, 'minItems', 'maxItems', ' items')}"

    def _reference(self, reference: str, depth: int, open_refs: tuple[str, ...]) -> str:
        name = reference.rsplit("/", 1)[-1][:_VALUE_CHARS] or "root"
        if reference in open_refs:
            return name
        target = resolve(self._root, reference)
        return name if target is None else self._type(target, depth, (*open_refs, reference))


def resolve(root: Schema, reference: str) -> object:
    """A JSON pointer into the tool's own schema, RFC 6901; None where it leads nowhere."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    node: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        node = _element(cast("list[Any]", node), key) if isinstance(node, list) else _object(node).get(key)
    return node


def _key(name: str) -> str:
    return name if name.replace("_", "a").replace("-", "a").isalnum() else json.dumps(name, ensure_ascii=False)


def _values(values: list[Any]) -> str:
    shown = [_literal(value) for value in values[:_MAX_VALUES]]
    if len(values) > _MAX_VALUES:
        shown.append(f"…{len(values) - _MAX_VALUES} more")
    return " | ".join(shown) or "never"


def _constraints(schema: Schema) -> str:
    """Ranges, lengths, formats and patterns that decide whether a value is taken."""
    form, pattern = schema.get("format"), schema.get("pattern")
    parts = [
        f"<{form}>" if isinstance(form, str) else "",
        _span(schema, "minimum", "maximum", ""),
        f" >{schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else "",
        f" <{schema['exclusiveMaximum']}" if "exclusiveMaximum" in schema else "",
        f" multiple of {schema['multipleOf']}" if "multipleOf" in schema else "",
        _span(schema, "minLength", "maxLength", " chars"),
    ]
    if isinstance(pattern, str):
        parts.append(f" /{pattern[:_VALUE_CHARS]}{'…' if len(pattern) > _VALUE_CHARS else ''}/")
    return "".join(parts)


def _span(schema: Schema, low: str, high: str, what: str) -> str:
    """` 1..9`, with what is counted; empty where there is no bound."""
    ends = ["" if schema.get(key) in (None, *_NO_BOUNDS) else str(schema[key]) for key in (low, high)]
    return f" {'..'.join(ends)}{what}" if any(ends) else ""
