"""Finds tools by words, and names that are near to a wrong one; takes values and gives values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NEAR = 0.5
_NAME_WEIGHT = 3


def words(text: str) -> list[str]:
    """Lower-case words; identifiers are split: `getFileInfo`, `get_file_info` → get, file, info."""
    return [word.lower() for word in _WORD.findall(text)]


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 2:  # noqa: PLR2004 - what is left must be a word
            return word.removesuffix(ending) + ("y" if ending == "ies" else "")
    return word


def score(query: str, tool: Mapping[str, Any], server: str = "") -> float:
    """How well a tool fits a query: shared words, those of its name counting most; 0 for none."""
    wanted = {_stem(word) for word in words(query)}
    name = {_stem(word) for word in words(f"{server} {tool.get('name', '')}")}
    prose = {_stem(word) for word in words(str(tool.get("description", ""))[:2000])}
    return sum(_NAME_WEIGHT if word in name else 1 for word in wanted if word in name or word in prose)


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
