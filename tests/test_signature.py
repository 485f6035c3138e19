"""Signatures: what a line says of a schema, and that it stays a line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.signature import notes, resolve, signature, summary


def line(properties: dict[str, Any], required: tuple[str, ...] = (), definitions: dict[str, Any] | None = None) -> str:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "$defs": definitions}
    schema["required"] = list(required)
    return signature({"name": "t", "inputSchema": schema}).removeprefix("t(").removesuffix(")")


FORMS: list[tuple[Any, str]] = [
    ({"type": "string"}, "string"),
    ({}, "any"),
    (True, "any"),
    (False, "never"),
    ({"type": "integer", "minimum": 1, "maximum": 9, "default": 3}, "integer 1..9 = 3"),
    ({"type": "number", "minimum": 0}, "number 0.."),
    ({"type": "integer", "maximum": 2**53 - 1}, "integer"),
    ({"type": "string", "format": "date-time"}, "string<date-time>"),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "number >0 <1"),
    ({"type": "integer", "multipleOf": 5}, "integer multiple of 5"),
    ({"type": "string", "minLength": 1, "maxLength": 9}, "string 1..9 chars"),
    ({"type": "array", "items": {"type": "string"}, "minItems": 1}, "string[] 1.. items"),
    ({"type": "integer", "minimum": 0}, "integer 0.."),
    ({"type": "string", "pattern": "^a+$"}, "string /^a+$/"),
    ({"enum": ["a", 1, None]}, '"a" | 1 | null'),
    ({"const": "only"}, '"only"'),
    ({"type": ["string", "null"]}, "string | null"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
    ({"type": "array", "items": {"type": "string"}}, "string[]"),
    ({"type": "array"}, "any[]"),
    ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, "(string | integer)[]"),
    ({"prefixItems": [{"type": "string"}, {"type": "integer"}], "type": "array"}, "[string, integer]"),
    ({"type": "object"}, "object"),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, "{a: string}"),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, "{[key]: integer}"),
    ({"allOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object"}]}, "{a?: any} & object"),
    ({"oneOf": [{"const": 1}, {"const": 2}]}, "1 | 2"),
    ({"$ref": "#/$defs/Point"}, "{x: number}"),
    ({"$ref": "#/$defs/Node"}, "{next?: Node}"),
    ({"$ref": "#/properties/other"}, "boolean"),
    ({"$ref": "http://elsewhere/x"}, "x"),
    ({"$ref": "#/$defs/None"}, "None"),
    ({"$ref": "#/anyOf/\u00b2"}, "\u00b2"),
    ({"$ref": "#anchor"}, "#anchor"),
    ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, "object & (with a | with b)"),
    ({"allOf": [{"required": ["a"]}], "type": "object", "properties": {"a": {}}}, "{a: any} & with a"),
    ({"type": "array", "items": {"anyOf": [{"type": "object"}, {"type": "string"}]}}, "(object | string)[]"),
    ({"type": "string", "pattern": "a\nb"}, "string /a b/"),
]


@pytest.mark.parametrize(("schema", "shown"), FORMS)
def test_each_kind_of_schema_has_its_form(schema: Any, shown: str) -> None:
    definitions: dict[str, Any] = {
        "Point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}},
    }
    properties = {"p": schema, "other": {"type": "boolean"}}
    assert line(properties, ("p", "other"), definitions).split(", other:")[0] == f"p: {shown}"


def test_required_parameters_stand_before_optional_ones() -> None:
    assert line({"a": {}, "b": {"type": "string"}}, ("b",)) == "b: string, a?: any"


def test_a_required_parameter_that_is_described_nowhere_is_shown() -> None:
    assert line({}, ("ghost",)) == "ghost: any"


def test_names_that_are_no_identifiers_are_quoted() -> None:
    assert line({"{{userName}}": {}, "$and": {}, "a-b_c": {}}) == '"{{userName}}"?: any, "$and"?: any, a-b_c?: any'


def test_alternatives_at_the_root_are_shown() -> None:
    branch: dict[str, Any] = {"required": ["a"], "properties": {"a": True}}
    schema = {"type": "object", "anyOf": [branch, {"type": "object"}]}
    assert signature({"name": "t", "inputSchema": schema}) == "t({a: any} | object)"


def test_long_lists_of_values_are_counted() -> None:
    assert line({"e": {"enum": list(range(20))}}, ("e",)).endswith("11 | …8 more")


@pytest.mark.parametrize("schema", [None, [], "text", {"properties": []}, {"required": "all"}, {"type": 5}])
def test_what_is_no_schema_still_gives_a_line(schema: Any) -> None:
    assert signature({"name": "t", "inputSchema": schema}).startswith("t(")


def test_a_schema_that_doubles_with_every_reference_is_bounded() -> None:
    definitions: dict[str, Any] = {
        f"d{number}": {"type": "object", "properties": {"l": {"$ref": f"#/$defs/d{number + 1}"},
                                                        "r": {"$ref": f"#/$defs/d{number + 1}"}}}
        for number in range(60)
    }  # fmt: skip
    shown = line({"p": {"$ref": "#/$defs/d0"}}, definitions=definitions)
    assert "…" in shown
    assert len(shown) <= 1_500


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("Reads a file from the disk. Then more.", "Reads a file from the disk"),
        ("One line\n  over two lines", "One line over two lines"),
        ("e.g. this. is a short start. More", "e.g. this. is a short start"),
        ("", ""),
        ("x" * 500, "x" * 139 + "…"),
    ],
)
def test_a_summary_is_the_first_sentence(description: str, shown: str) -> None:
    assert summary({"name": "t", "description": description}) == shown


def test_notes_are_what_is_said_of_each_parameter() -> None:
    schema: Any = {"properties": {"a": {"description": "The\n first."}, "b": {}, "c": True}}
    assert notes({"inputSchema": schema}) == ["a: The first."]


def test_pointers_lead_through_lists_and_escapes() -> None:
    root = {"a/b": [{"~": "found"}]}
    assert resolve(root, "#/a~1b/0/~0") == "found"
    assert resolve(root, "#/a~1b/7") is None
    assert resolve(root, "#") == root


NAMES = st.text(max_size=8)
SCHEMAS: Any = st.recursive(
    st.sampled_from([True, False, {}, {"type": "string"}, {"$ref": "#"}, {"$ref": "#/$defs/a"}, {"enum": [1, "x"]}]),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=4),
             "required": st.lists(NAMES, max_size=2)}
        ),
    ),
    max_leaves=15,
)  # fmt: skip


@given(
    properties=st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), SCHEMAS, max_size=6),
    required=st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=3),
    definition=SCHEMAS,
)
def test_any_schema_gives_one_bounded_line_that_tells_the_required_from_the_optional(
    properties: dict[str, Any], required: list[str], definition: Any
) -> None:
    shown = signature({"name": "t", "inputSchema": {
        "type": "object", "properties": properties, "required": required, "$defs": {"a": definition},
    }})  # fmt: skip
    assert "\n" not in shown
    assert len(shown) <= 1_500
    if "…" not in shown:
        for name in required:
            assert f"{name}: " in shown
        for name in properties.keys() - set(required):
            assert f"{name}?: " in shown


MANY = range(5000)
BREAKING: list[dict[str, Any]] = [
    {"properties": {"a": {"$ref": f"#/required/{'1' * 5000}"}}, "required": ["a"]},
    {"properties": {"a": {"$ref": "#/required/²"}}, "required": ["a"]},
    {"properties": {f"p{number}": {} for number in MANY}, "required": [f"r{number}" for number in MANY]},
]


@pytest.mark.parametrize("schema", BREAKING)
def test_a_schema_that_is_made_to_break_gives_a_line(schema: dict[str, Any]) -> None:
    assert len(signature({"name": "t", "inputSchema": schema})) <= 1_500


def test_what_cannot_be_printed_at_all_is_left_open() -> None:
    deep: Any = "string"
    for _ in range(5000):
        deep = [deep]
    assert signature({"name": "t", "inputSchema": {"properties": {"a": {"type": deep}}}}) == "t(…)"
