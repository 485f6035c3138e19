"""Which values are secret, and text without them; takes values and gives values.

A value counts as secret by the name that it is given: of a variable, a header, an option or a
parameter of a URL. Some forms of keys are known by themselves.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

Secret = tuple[str, str]
"""A value, and the name that is shown in its place."""

_MIN_CHARS = 8
"""Shorter values are too common as plain words to be replaced wherever they stand."""
_WORDS = {
    "APIKEY", "AUTH", "AUTHORIZATION", "BEARER", "COOKIE", "CREDENTIAL", "CREDENTIALS", "DSN", "KEY",
    "PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "PAT", "PWD", "SECRET", "SECRETS", "SIGNATURE", "TOKEN", "TOKENS",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_OPTION = re.compile(r"--?([\w-]+)=(.+)", re.DOTALL)
_PARAMETER = re.compile(r"[?&]([\w.-]+)=([^&#\s]+)")
_HEADER = re.compile(r"([\w-]+):\s*(\S.*)", re.DOTALL)
_FORMS = (
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"), "[login]"),
    (re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{8,}"), "[token]"),
    (re.compile(r"(?i)(?<=basic )[\w+/=-]{8,}"), "[login]"),
    (re.compile(r"\b(?:sk|pk|rk)-[\w-]{16,}|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bxox[a-z]-[\w-]{10,}"), "[key]"),
    (re.compile(r"\bAIza[\w-]{30,}|\bAKIA[A-Z0-9]{16}|\beyJ[\w-]{8,512}\.[\w-]{8,8192}\.[\w-]+"), "[key]"),
)


def is_secret(name: str) -> bool:
    """Whether something of that name is a secret: one of its words says so."""
    return not _WORDS.isdisjoint(word.upper() for word in _WORD.findall(name))


def of_value(name: str, value: str) -> Iterator[Secret]:
    """The value itself if its name says so, and what is secret inside it."""
    if is_secret(name):
        yield value, name
    for parameter, inner in _PARAMETER.findall(value):
        if is_secret(parameter):
            yield inner, parameter


def of_words(words: Sequence[str]) -> Iterator[Secret]:
    """What is secret among the arguments of a program: `--api-key=…`, `--token …`, `-H "X-Key: …"`."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, header = _OPTION.fullmatch(word), _HEADER.fullmatch(word)
        if option and is_secret(option[1]):
            yield option[2], option[1]
        elif header and is_secret(header[1]):
            yield header[2], header[1]
        elif word.startswith("-") and is_secret(word) and not following.startswith("-"):
            yield following, word.lstrip("-")
        yield from of_value("", word)


class Redactor:
    """Replaces the values of secrets wherever the gateway writes text of its own."""

    def __init__(self) -> None:
        """Know no value yet; some forms are known always."""
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Know these as well; nothing is forgotten, for a child that was given an old value may still speak."""
        new = {form: name for value, name in secrets for form in _forms(value)}
        if not new.keys() <= self._names.keys():
            self._names = {**new, **self._names}
            longest_first = sorted(self._names, key=len, reverse=True)
            self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")

    def knows(self, value: str) -> bool:
        """Whether a value is one of those that are replaced."""
        return value in self._names

    def known(self, text: str) -> str:
        """The text with `[NAME]` in place of each known value, and nothing else changed."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f"[{self._names[found[0]]}]", text)

    def __call__(self, text: str) -> str:
        """The text with `[NAME]` in place of each secret's value, and without what looks like a key."""
        text = self.known(text)
        for pattern, shown in _FORMS:
            text = pattern.sub(shown, text)
        return text


def _forms(value: str) -> Iterator[str]:
    """The value as programs write it: line by line, and escaped."""
    lines = [value, *value.splitlines(), value.removeprefix("Bearer ").removeprefix("Basic ")]
    encoded = [quote(value, safe=""), json.dumps(value)[1:-1], base64.b64encode(value.encode()).decode()]
    return (form.strip() for form in [*lines, *encoded] if len(form.strip()) >= _MIN_CHARS)
