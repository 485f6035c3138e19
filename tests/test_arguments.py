"""Arguments: repaired where there is no doubt, left alone where there is, explained when refused."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_gateway.arguments import as_object, diagnosis, repair


@pytest.mark.parametrize(
    ("given", "taken"),
    [({"a": 1}, {"a": 1}), (None, {}), ("", {}), ('{"a": 1}', {"a": 1}), ("[1]", None), ("nonsense", None), (5, None)],
)
def test_arguments_are_an_object_or_a_string_that_holds_one(given: Any, taken: Any) -> None:
    assert as_object(given) == taken


@pytest.mark.parametrize(
    ("schema", "given", "sent"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "5.5", "5.5"),
        ({"type": "integer"}, "true", "true"),
        ({"type": "number"}, "5.5", 5.5),
        ({"type": "number"}, "NaN", "NaN"),
        ({"type": "number"}, "1e400", "1e400"),
        ({"type": "array", "items": {"type": "integer"}}, '["1", "2"]', [1, 2]),
        ({"type": "boolean"}, "false", False),
        ({"type": "boolean"}, "no", "no"),
        ({"type": "array"}, '["a"]', ["a"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "object"}, "[1]", "[1]"),
        ({"type": "string"}, "5", "5"),
        ({"type": ["string", "integer"]}, "5", "5"),
        ({"type": ["integer", "null"]}, "5", 5),
        ({"type": ["integer", "null"]}, "null", "null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", "5"),
        ({"anyOf": [{"type": "integer"}, {}]}, "5", "5"),
        ({"$ref": "#/$defs/Count"}, "5", 5),
        ({"$ref": "#/$defs/Loop"}, "5", "5"),
        ({}, "5", "5"),
        (True, "5", "5"),
        ({"enum": [1, 2]}, "1", "1"),
        ({"type": "integer"}, 5.0, 5.0),
        ({"type": "string"}, 5, 5),
        ({"type": "array", "items": {"type": "integer"}}, ["1", 2], [1, 2]),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": "1", "m": "2"}, {"n": 1, "m": "2"}),
    ],
)
def test_strings_are_replaced_only_where_the_schema_leaves_no_doubt(schema: Any, given: Any, sent: Any) -> None:
    root = {
        "properties": {"p": schema},
        "$defs": {"Count": {"type": "integer"}, "Loop": {"$ref": "#/$defs/Loop"}},
    }
    repaired = repair({"p": given, "other": "1"}, root)
    assert repaired == {"p": sent, "other": "1"}
    assert type(repaired["p"]) is type(sent)


def test_what_was_given_is_not_changed_in_place() -> None:
    given = {"a": {"n": "1"}}
    repair(given, {"properties": {"a": {"properties": {"n": {"type": "integer"}}}}})
    assert given == {"a": {"n": "1"}}


def test_a_diagnosis_names_each_contradiction_and_the_signature() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}, "required": ["a"]}
    tool = {"name": "t", "inputSchema": schema}
    text = diagnosis(tool, {"n": "many"})
    assert "- 'a' is a required property" in text
    assert "- n: 'many' is not of type 'integer'" in text
    assert text.endswith("Its signature: t(a: string, n?: integer)")


def test_arguments_that_fit_need_no_diagnosis() -> None:
    assert diagnosis({"name": "t", "inputSchema": {"type": "object"}}, {"a": 1}) == ""


@pytest.mark.parametrize("schema", [None, "text", {"type": 5}, {"$ref": "http://elsewhere/x"}, {"pattern": "("}])
def test_a_schema_that_is_none_gives_no_diagnosis(schema: Any) -> None:
    assert diagnosis({"name": "t", "inputSchema": schema}, {"a": "b"}) == ""
