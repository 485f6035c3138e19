"""Prints the table of what crosses the gateway, as the run has found it."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line a feature, one column a server; each cell holds for all clients, or says for how many."""
    cells: dict[tuple[str, str], list[str]] = {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", []):
                if name == "cell" and (outcome == "skipped" or report.when == "call"):
                    cells.setdefault((value[0], value[1]), []).append(outcome)
    if not cells:
        return
    servers = list(dict.fromkeys(server for _, server in cells))
    terminalreporter.section("what crosses, for all four clients")
    terminalreporter.write_line(f"| | {' | '.join(servers)} |")
    terminalreporter.write_line(f"|---|{':-:|' * len(servers)}")
    for feature in dict.fromkeys(feature for feature, _ in cells):
        marks = [mark(cells.get((feature, server), [])) for server in servers]
        terminalreporter.write_line(f"| {feature} | {' | '.join(marks)} |")


def mark(outcomes: list[str]) -> str:
    """✓ where all clients have it, a dash where none can, else for how many."""
    if not outcomes or set(outcomes) == {"skipped"}:
        return "-"
    passed = outcomes.count("passed")
    return "✓" if passed == len(outcomes) else f"{passed}/{len(outcomes)}"
