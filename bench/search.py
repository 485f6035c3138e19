"""How well tools are found: `.venv/bin/python bench/search.py SET`.

SET is a folder with `queries.jsonl` (`{"query", "server", "tool", "accept": ["server.tool"], "style"}`) and
`recordings/*.json` (`{"server", "instructions", "tools"}`). Prints recall at 1, 3, 5 and 10 and the mean
reciprocal rank by style, and the time of a query at 1,000 and 10,000 tools.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from mcp_gateway.catalog import Catalog
from mcp_gateway.knowledge import Knowledge
from mcp_gateway.registry import Entry

CUTS = (1, 3, 5, 10)
SIZES = (1_000, 10_000)

Recording = Mapping[str, Any]


def fill(recordings: Iterable[Recording], copies: int = 1) -> tuple[Catalog, list[Entry]]:
    """A catalog with these servers, each under so many names."""
    catalog = Catalog()
    entries: list[Entry] = []
    for recording in recordings:
        for number in range(copies):
            name = recording["server"] if number == 0 else f"{recording['server']}-{number}"
            entry = Entry(name, fingerprint="bench")
            catalog.remember(entry, Knowledge(tuple(recording["tools"]), recording.get("instructions") or ""))
            entries.append(entry)
    return catalog, entries


def ranks(catalog: Catalog, entries: list[Entry], queries: list[dict[str, Any]]) -> dict[str, list[int | None]]:
    """For each style, where the first right answer of each query stands, from 1; None where there is none."""
    found: dict[str, list[int | None]] = defaultdict(list)
    for query in queries:
        right = {*query["accept"], f"{query['server']}.{query['tool']}"}
        hits = [f"{server}.{tool['name']}" for server, tool in catalog.search(query["query"], entries)]
        rank = next((place for place, hit in enumerate(hits, 1) if hit in right), None)
        found[query["style"]].append(rank)
        found["all"].append(rank)
    return found


def table(found: dict[str, list[int | None]]) -> str:
    """Recall at each cut, and the mean reciprocal rank."""
    lines = [f"| style | queries | {' | '.join(f'recall@{cut}' for cut in CUTS)} | MRR |", f"|---|{'---:|' * 6}"]
    for style in sorted(found, key=lambda style: (style == "all", style)):
        places = found[style]
        recalls = [sum(place is not None and place <= cut for place in places) / len(places) for cut in CUTS]
        mean = statistics.mean(1 / place if place else 0 for place in places)
        lines.append(f"| {style} | {len(places)} | {' | '.join(f'{one:.3f}' for one in recalls)} | {mean:.3f} |")
    return "\n".join(lines)


def latency(recordings: list[Recording], queries: list[dict[str, Any]], size: int) -> str:
    """Milliseconds of a query with so many tools known, at the median and at 99 of 100."""
    tools = sum(len(recording["tools"]) for recording in recordings)
    catalog, entries = fill(recordings, -(-size // tools))
    times: list[float] = []
    for query in queries:
        started = time.perf_counter()
        catalog.search(query["query"], entries)
        times.append(1e3 * (time.perf_counter() - started))
    times.sort()
    known = tools * -(-size // tools)
    return (
        f"{known:,} tools: {statistics.median(times):.1f} ms at the median, {times[len(times) * 99 // 100]:.1f} ms p99"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", type=Path)
    folder: Path = parser.parse_args().set
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    files = sorted((folder / "recordings").glob("*.json"))
    recordings: list[Recording] = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    catalog, entries = fill(recordings)
    print(table(ranks(catalog, entries, queries)), end="\n\n")
    for size in SIZES:
        print(latency(recordings, queries, size))


if __name__ == "__main__":
    main()
