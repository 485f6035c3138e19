"""How tools are found by words: what is indexed, what a query asks for, how hits are ranked.

Takes values and gives values; the index itself is the catalog's. Each word of a query is scored by BM25
(Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009) with weights a column, a synonym
counts for less than the word itself, and a tool that has more of the words comes before one that has
a single one often.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from mcp_gateway.signature import summary
from mcp_gateway.words import COMMON, EMPTY, PURPOSES, SYNONYMS, WEAK

COLUMNS = ("server", "name", "summary", "description", "parameters", "notes")
WEIGHTS = (4.0, 8.0, 5.0, 1.0, 1.0, 0.3)
"""Of each column, in their order."""

TELLING = ("server", "name", "summary")
"""Columns in which a synonym is looked for: in longer texts some synonym of everything stands somewhere."""

_CHUNK = re.compile(r"[^\W_]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SYNONYM = 0.5
_MOST_OF_A_SYNONYM = 6.0
"""A rare synonym must not outweigh the words that were said."""
_WEAK = 0.3
_COVERAGE = 0.5
_COLUMN_CHARS = 3_000
_MAX_DEPTH = 4
_MAX_TERMS = 24
_NEAR = 0.5


@dataclass(frozen=True)
class Term:
    """One word of a query.

    Attributes:
        word: The word itself.
        synonyms: What else may be meant by it.
        weight: How much it says.
    """

    word: str
    synonyms: tuple[str, ...]
    weight: float


def words(text: str) -> list[str]:
    """Lower-case words; identifiers are split: `getFileInfo`, `get_file_info` → get, file, info."""
    found: list[str] = []
    for chunk in _CHUNK.findall(text):
        found.extend(word.lower() for word in (_WORD.findall(chunk) if chunk.isascii() else [chunk]))
    return found


def terms(query: str) -> list[Term]:
    """What a query asks for."""
    said = list(dict.fromkeys(words(query)))
    telling = [word for word in said if word not in EMPTY] or said
    groups = _synonyms()
    return [
        Term(word, (), _WEAK) if word in WEAK else Term(word, tuple(sorted(groups[_stem(word)] - {word} - COMMON)), 1.0)
        for word in telling[:_MAX_TERMS]
    ]


def rank(found: Sequence[tuple[Term, Mapping[int, float], Mapping[int, float]]]) -> list[int]:
    """Row numbers, the best first, from each term's scores by the word itself and by its synonyms."""
    scores: dict[int, float] = defaultdict(float)
    covered: dict[int, float] = defaultdict(float)
    for term, own, others in found:
        for row in own.keys() | others.keys():
            by_synonym = _SYNONYM * min(others.get(row, 0.0), _MOST_OF_A_SYNONYM)
            scores[row] += term.weight * max(own.get(row, 0.0), by_synonym)
            covered[row] += term.weight
    whole = sum(term.weight for term, _, _ in found) or 1.0
    for row, part in covered.items():
        scores[row] *= 1 - _COVERAGE + _COVERAGE * part / whole
    return sorted(scores, key=lambda row: (-scores[row], row))


def document(server: str, tool: Mapping[str, Any]) -> tuple[str, ...]:
    """What is indexed of a tool, a text for each of `COLUMNS`."""
    names, texts = _parameters(tool.get("inputSchema"), 0)
    annotations = tool.get("annotations")
    hints = cast("Mapping[str, Any]", annotations) if isinstance(annotations, dict) else dict[str, Any]()
    columns = (
        f"{server} {purpose(server)}",
        f"{tool.get('name', '')} {tool.get('title') or hints.get('title') or ''}",
        summary(tool),
        str(tool.get("description") or ""),
        " ".join(names),
        " ".join(texts),
    )
    return tuple(" ".join(words(column[:_COLUMN_CHARS])) for column in columns)


def purpose(server: str) -> str:
    """What a server of that name is likely to be for, where its name is well known."""
    known = _purposes()
    name = server.lower()
    parts = [part for part in re.split(r"[^a-z0-9]+", name) if part != name]
    return " ".join(known.get(part, "") for part in (name, *parts)).strip()


def _parameters(schema: object, depth: int) -> tuple[list[str], list[str]]:
    """Names and values of a schema's parameters, and what is said of them, inner ones included."""
    names: list[str] = []
    texts: list[str] = []
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return names, texts
    properties = cast("dict[str, Any]", schema).get("properties")
    members = cast("dict[str, Any]", properties) if isinstance(properties, dict) else dict[str, Any]()
    for name, member in members.items():
        names.append(name)
        if not isinstance(member, dict):
            continue
        known = cast("dict[str, Any]", member)
        texts.append(str(known.get("description") or ""))
        values = known.get("enum")
        names.extend(str(value) for value in (cast("list[object]", values) if isinstance(values, list) else []))
        for inner in (known, known.get("items")):
            inner_names, inner_texts = _parameters(inner, depth + 1)
            names.extend(inner_names)
            texts.extend(inner_texts)
    return names, texts


@cache
def _synonyms() -> defaultdict[str, set[str]]:
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for line in SYNONYMS.strip().splitlines():
        group = line.split()
        for word in group:
            groups[_stem(word)].update(group)
    return groups


@cache
def _purposes() -> dict[str, str]:
    pairs = (line.split(":") for line in PURPOSES.strip().splitlines())
    return {name: said.strip() for name, said in pairs}


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 2:  # noqa: PLR2004 - what is left must be a word
            return word.removesuffix(ending) + ("y" if ending == "ies" else "")
    return word


def near_names(name: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Names that somebody who wrote `name` may have meant, the nearest first."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(_folded(candidate), candidate)
    found = difflib.get_close_matches(_folded(name), by_folded, n=most, cutoff=_NEAR)
    shared = _sharing_words(name, list(by_folded.values()))
    return tuple(dict.fromkeys([*(by_folded[key] for key in found), *shared]))[:most]


def _sharing_words(name: str, known: Sequence[str]) -> list[str]:
    wanted = set(words(name))
    ranked = sorted(known, key=lambda candidate: -len(wanted & set(words(candidate))))
    return [candidate for candidate in ranked if wanted & set(words(candidate))]


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
