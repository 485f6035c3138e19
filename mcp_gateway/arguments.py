"""A tool's arguments: repaired where its schema leaves no doubt, explained where it refused them.

Arguments are otherwise passed on as given, for the server alone decides what it takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from mcp_gateway.signature import resolve, signature

_TYPES = {"object": dict, "array": list, "boolean": bool}
_MAX_DEPTH = 4
_MAX_REASONS = 5
_REASON_CHARS = 300

Schema = Mapping[str, Any]


def as_object(arguments: object) -> dict[str, Any] | None:
    """Arguments as an object; a string that holds one is parsed; None for anything else."""
    if arguments is None or arguments == "":
        return {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    return cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else None


def schema_of(tool: Mapping[str, Any] | None) -> Schema:
    """A tool's input schema; an empty one where there is none."""
    schema = (tool or {}).get("inputSchema")
    return cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}


def repair(arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Arguments with strings replaced by what they spell, where the schema wants that and no string."""
    return cast("dict[str, Any]", _repair(dict(arguments), schema, schema, 0))


def _repair(value: object, schema: object, root: Schema, depth: int) -> object:
    known = _dereferenced(schema, root)
    if depth > _MAX_DEPTH or known is None:
        return value
    if isinstance(value, str):
        respelled = _respelled(value, _wanted(known, root, 0))
        return respelled if isinstance(respelled, str) else _repair(respelled, known, root, depth + 1)
    if isinstance(value, dict) and isinstance(known.get("properties"), dict):
        members = cast("dict[str, Any]", known["properties"])
        fields = cast("dict[str, Any]", value)
        return {key: _repair(item, members.get(key), root, depth + 1) for key, item in fields.items()}
    if isinstance(value, list) and isinstance(known.get("items"), dict):
        return [_repair(item, known["items"], root, depth + 1) for item in cast("list[object]", value)]
    return cast("object", value)


def _respelled(text: str, wanted: set[str]) -> object:
    if not wanted or "string" in wanted:
        return text
    try:
        value: object = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except ValueError:
        return text
    fits = any(_is(value, kind) for kind in wanted)
    return value if fits else text


def _no_number(text: str) -> None:
    """NaN and the infinities are not JSON, RFC 8259."""
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _is(value: object, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return kind in _TYPES and isinstance(value, _TYPES[kind])


def _wanted(schema: Schema, root: Schema, depth: int) -> set[str]:
    """The JSON types that a schema takes; empty where that is not certain, so that nothing is repaired."""
    if depth > _MAX_DEPTH:
        return set()
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return {kinds}
    if isinstance(kinds, list):
        return {str(kind) for kind in cast("list[object]", kinds)}
    options = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(options, list):
        return set()
    each = [_dereferenced(option, root) for option in cast("list[object]", options)]
    found = [_wanted(option, root, depth + 1) if option else set[str]() for option in each]
    return set[str]().union(*found) if all(found) else set()


def _dereferenced(schema: object, root: Schema) -> Schema | None:
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, dict):
            return None
        reference = cast("dict[str, Any]", schema).get("$ref")
        if not isinstance(reference, str):
            return cast("dict[str, Any]", schema)
        schema = resolve(root, reference)
    return None


def diagnosis(tool: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What in the arguments contradicts the tool's schema, and its signature; empty if nothing does."""
    reasons = _contradictions(tool.get("inputSchema"), arguments)
    if not reasons:
        return ""
    listed = "\n".join(f"- {reason}" for reason in reasons)
    return f"The arguments do not fit the tool's schema:\n{listed}\nIts signature: {signature(tool)}"


def _contradictions(schema: object, arguments: Mapping[str, Any]) -> list[str]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow to import, and needed only after a refusal
    from referencing import Registry  # noqa: PLC0415

    if not isinstance(schema, dict):
        return []
    try:
        validator = Draft202012Validator(cast("dict[str, Any]", schema), registry=Registry())
        found: Any = validator.iter_errors(dict(arguments))  # pyright: ignore[reportUnknownMemberType]
        errors = sorted(found, key=lambda error: list(map(str, error.absolute_path)))
    except Exception:  # noqa: BLE001 - a schema may be anything; no diagnosis is better than a failed call
        return []
    return [_reason(list(error.absolute_path), error.message) for error in errors[:_MAX_REASONS]]


def _reason(path: list[object], message: str) -> str:
    where = ".".join(map(str, path))
    text = f"{where}: {message}" if where else message
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 1] + "…"
