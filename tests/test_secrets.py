"""Secrets: known by what they are called, gone from every text, and nothing else is."""

from __future__ import annotations

import pytest

from mcp_gateway.secrets import Redactor, is_secret, of_value, of_words


@pytest.mark.parametrize(
    "name",
    ["API_KEY", "GITHUB_PERSONAL_ACCESS_TOKEN", "dbPassword", "X-Api-Key", "Authorization", "--token", "PGPASS_PWD"],
)
def test_names_say_that_a_value_is_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["COMPASS_MODE", "SESSION_BACKEND", "MONKEY", "X-MCP-Toolsets", "PATH", "AUTHOR", ""])
def test_other_names_do_not(name: str) -> None:
    assert not is_secret(name)


def test_secrets_are_found_among_arguments_and_inside_urls() -> None:
    words = [
        "--api-key=one-secret",
        "--token",
        "two-secret",
        "-H",
        "X-Key: three-secret",
        "--verbose",
        "--key",
        "--other",
    ]
    assert {value for value, _ in of_words(words)} == {"one-secret", "two-secret", "three-secret"}
    assert list(of_words(["https://h/x?api_key=four-secret&page=2"])) == [("four-secret", "api_key")]
    assert list(of_value("URL", "https://h/?access_token=five-secret#end")) == [("five-secret", "access_token")]


def test_values_are_replaced_by_their_names_the_longest_first() -> None:
    redact = Redactor()
    redact.learn([("secret-1", "SHORT"), ("secret-1-and-more", "LONG")])
    assert redact("a secret-1-and-more b secret-1, c") == "a [LONG] b [SHORT], c"


def test_values_are_replaced_as_whole_words_and_short_ones_not_at_all() -> None:
    redact = Redactor()
    redact.learn([("notebook", "KEY"), ("abc", "PIN_KEY")])
    assert redact("notebooks and abc, a notebook") == "notebooks and abc, a [KEY]"


def test_nothing_is_forgotten() -> None:
    redact = Redactor()
    redact.learn([("old-secret", "KEY")])
    redact.learn([("new-secret", "KEY")])
    assert redact("old-secret new-secret") == "[KEY] [KEY]"


@pytest.mark.parametrize(
    "written", ["p@ss w\u00f6rd/1", "p%40ss%20w%C3%B6rd%2F1", "p@ss w\\u00f6rd/1", "cEBzcyB3w7ZyZC8x"]
)
def test_values_are_known_in_the_forms_that_programs_write(written: str) -> None:
    redact = Redactor()
    redact.learn([("p@ss w\u00f6rd/1", "PASSWORD")])
    assert redact(f"login failed: {written} !") == "login failed: [PASSWORD] !"


def test_each_line_of_a_secret_is_one() -> None:
    redact = Redactor()
    redact.learn([("-----BEGIN-----\nMIIEsecretline\n", "PRIVATE_KEY")])
    assert redact("MIIEsecretline") == "[PRIVATE_KEY]"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:pa55@host/x", "https://[login]@host/x"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: Bearer [token]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [login]"),
        ("key sk-proj-abcdefghijklmnop.", "key [key]."),
        ("ghp_abcdefghijklmnopqrstuvwxyz", "[key]"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("task-force and risk-averse", "task-force and risk-averse"),
    ],
)
def test_some_forms_are_known_by_themselves(text: str, clean: str) -> None:
    assert Redactor()(text) == clean
