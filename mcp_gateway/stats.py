"""Figures over the calls on record, and what the gateway saves; takes values and gives values."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_gateway.knowledge import Call, Tool

CHARS_A_TOKEN = 3.5
"""Of definitions, which are mostly JSON; `bench/tokens.py` counts with a tokenizer."""


@dataclass(frozen=True)
class Figures:
    """What became of the calls of one tool; seconds, at the median and at 95 of 100."""

    server: str
    tool: str
    calls: int
    errors: int
    p50: float
    p95: float


def by_tool(calls: Iterable[Call]) -> list[Figures]:
    """One line a tool, the most called first."""
    grouped: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        grouped[call.server, call.tool].append(call)
    figures = [_figures(server, tool, made) for (server, tool), made in grouped.items()]
    return sorted(figures, key=lambda one: (-one.calls, one.server, one.tool))


def _figures(server: str, tool: str, calls: Sequence[Call]) -> Figures:
    times = sorted(call.seconds for call in calls)
    errors = sum(call.outcome != "ok" for call in calls)
    return Figures(server, tool, len(calls), errors, _at(times, 0.5), _at(times, 0.95))


def _at(times: Sequence[float], part: float) -> float:
    """The nearest rank."""
    return times[max(0, math.ceil(part * len(times)) - 1)]


def definition_tokens(tools: Iterable[Tool]) -> int:
    """About what the definitions of tools cost a model at the start of every conversation."""
    handed = [{key: tool.get(key) for key in ("name", "description", "inputSchema")} for tool in tools]
    return tokens(json.dumps(handed, ensure_ascii=False)) if handed else 0


def tokens(text: str) -> int:
    """About how many tokens a text of definitions has."""
    return round(len(text) / CHARS_A_TOKEN)


def as_json(figures: Iterable[Figures], direct: Mapping[str, int], own: int) -> dict[str, Any]:
    """All of it, for scripts; `direct` by server."""
    startup = {"direct": sum(direct.values()), "gateway": own, "direct_by_server": dict(direct)}
    return {"tools": [vars(one) for one in figures], "startup_tokens": startup}
