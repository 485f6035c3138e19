"""What a model reads of servers and tools, within budgets; takes values and gives text.

Budgets are in characters, at three a token, which errs on the safe side for English and for code.
Whatever is left out is counted in the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mcp_gateway.errors import trust_command
from mcp_gateway.knowledge import Knowledge, Tool, shown_name
from mcp_gateway.registry import Entry
from mcp_gateway.search import words
from mcp_gateway.signature import notes, signature, summary
from mcp_gateway.trust import MARK, counted_changes, is_changed
from mcp_gateway.visible import visible

CHARS_A_TOKEN = 3
_LIST_CHARS = 1_500 * CHARS_A_TOKEN
_LOAD_CHARS = 2_500 * CHARS_A_TOKEN
_FOUND_CHARS = 380 * CHARS_A_TOKEN
_MOST_NAMES_CHARS = 8_000 * CHARS_A_TOKEN
"""A load drops no name but those of a server that has more than a model could read."""
_UNKNOWN_CHARS = 60 * CHARS_A_TOKEN
_SHORTEST_HIT = 80
_INSTRUCTIONS_CHARS = 2_000
"""A server's own instructions within a load; the longest seen has 5,160 characters."""
_OWN_INSTRUCTIONS_CHARS = 2_000
"""Clients cut a server's instructions after 2,048 characters."""
_MOST_PROBLEMS = 4
_MORE_CHARS = 50
"""Room for the count of what did not fit."""
_BEST = 5
_DETAILED = 6


@dataclass(frozen=True)
class Line:
    """One server in the list.

    Attributes:
        entry: Its entry.
        knowledge: What it said of itself, if anything yet.
        state: What it is doing, or empty.
        failure: Why it failed to start the last time, or empty.
    """

    entry: Entry
    knowledge: Knowledge | None = None
    state: str = ""
    failure: str = ""

    @property
    def purpose(self) -> str:
        """What the server is for, as far as anybody has said."""
        known = self.knowledge or Knowledge()
        return self.entry.description or visible(" ".join(known.instructions.split()) or known.title)

    @property
    def status(self) -> str:
        """Its number of tools and its state, in parentheses, or empty."""
        count = counted(len(self.knowledge.tools), "tool") if self.knowledge else ""
        changed = f"{number} changed, not yet trusted" if (number := self.changed) else ""
        parts = [part for part in (count, changed, self.state, _cut(self.failure, 80)) if part]
        return f" ({', '.join(parts)})" if parts else ""

    @property
    def changed(self) -> int:
        """How much of what it says is not as it was trusted."""
        return counted_changes(self.knowledge) if self.knowledge else 0

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return self.entry.usable and not self.entry.lacks

    def shown(self, chars: int) -> str:
        """The server as a line, its purpose cut to `chars`."""
        purpose = f": {_cut(self.purpose, chars)}" if self.purpose else ""
        return f"- {self.entry.name}{purpose}{self.status}"


def counted(number: int, noun: str) -> str:
    """`1 tool`, `2 tools`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: max(chars - 1, 0)].rstrip() + "…"


def server_list(lines: Sequence[Line], problems: Iterable[str] = ()) -> str:
    """All servers, one a line; what cannot be used in one last line with what is missing."""
    ready = [line for line in lines if line.ready]
    tail = [*_not_ready(lines, _LIST_CHARS // 3), *(_cut(problem, 300) for problem in [*problems][:_MOST_PROBLEMS])]
    head = [f"{counted(len(ready), 'server')}. load_mcp_tools(name) shows a server's tools; call_mcp_tool calls one."]
    budget = _LIST_CHARS - _size([*head, *tail])
    return "\n".join([*head, *_fitting(ready, budget), *tail])


def _fitting(ready: Sequence[Line], budget: int) -> list[str]:
    """The servers with as much of their purposes as fits; every name, or an honest count."""
    for chars in (160, 80, 40):
        lines = [line.shown(chars) for line in ready]
        if _size(lines) <= budget:
            return lines
    return [_within([line.entry.name for line in ready], budget)]


def _within(names: Sequence[str], budget: int) -> str:
    """As many names as fit, and how many did not."""
    shown: list[str] = []
    used = _MORE_CHARS + budget // 5  # names cost more tokens than prose of the same length
    for name in names:
        used += len(name) + 2
        if used > budget:
            return f"{', '.join(shown)} … and {len(names) - len(shown)} more"
        shown.append(name)
    return ", ".join(shown)


def _not_ready(lines: Sequence[Line], budget: int) -> list[str]:
    """What is missing of each server that is not ready, on one line; names alone where that is too long."""
    waiting = [line for line in lines if not line.ready]
    for reasons in ([_reason(line) for line in waiting], [line.entry.name for line in waiting]):
        if sum(len(reason) + 2 for reason in reasons) <= budget:
            return [f"Not ready: {'; '.join(reasons)}."] if reasons else []
    return [f"Not ready: {_within([line.entry.name for line in waiting], budget)}"]


def _reason(line: Line) -> str:
    entry = line.entry
    if entry.disabled:
        return f"{entry.name} is disabled"
    if entry.lacks and not entry.refused:
        return f"{entry.name} lacks {', '.join(entry.lacks)} (can be tried){line.status}"
    if entry.lacks and all(name in entry.refused for name in entry.lacks):
        return f"{entry.name} lacks {', '.join(entry.lacks)}"
    return f"{entry.name}: {_cut(entry.refused, 200)}"


def search_answer(query: str, lines: Sequence[Line], hits: Sequence[tuple[str, Tool]]) -> str:
    """The best matching tools of all servers, ready to be called; servers whose tools are not known yet."""
    parts: list[str] = []
    room = _FOUND_CHARS
    for server, tool in hits[:_BEST]:
        line = _cut(f"{server}.{_signed(tool)}", max(room // 2, _SHORTEST_HIT))
        room -= len(line) + 1
        parts.append(line)
    if parts:
        parts.insert(0, 'Best matches, as server.tool(parameters); call_mcp_tool("server", "tool", {…}) calls one:')
    else:
        parts.append(f'No known tool matches "{_cut(query, 80)}".')
    unknown = [line.entry.name for line in lines if line.entry.usable and line.knowledge is None]
    if unknown:
        names = _within(unknown, _UNKNOWN_CHARS)
        parts.append(f"Not searched, for their tools are not known before load_mcp_tools(name): {names}")
    return "\n".join(parts)


def tool_list(name: str, knowledge: Knowledge, query: str = "", matching: Sequence[Tool] = ()) -> str:
    """A server's instructions and tools: whole if small, else all names, and those `matching` the query in full."""
    matching = matching[:_DETAILED]
    exact = knowledge.tool(query.strip()) if query.strip() else None
    if exact is not None:
        return whole_tool(name, exact)
    head = [f'{name}: {counted(len(knowledge.tools), "tool")}. call_mcp_tool("{name}", tool, {{…}}) calls one.']
    if knowledge.tools_error:
        head.append(
            f"Its tools could not be listed ({visible(knowledge.tools_error)}); they can still be called by name."
        )
    head += _instructions(knowledge)
    if counted_changes(knowledge):
        head.append(f"What is marked as changed keeps its old words until a person has run: {trust_command(name)}")
    if query.strip() and not matching:
        head.append(f'No tool matches "{_cut(query, 80)}"; these are all.')
    budget = _LOAD_CHARS - _size(head)
    return "\n".join([*head, *_tools(name, knowledge.tools, matching, budget)])


def _instructions(knowledge: Knowledge) -> list[str]:
    text, mark = visible(knowledge.instructions), f" {MARK}" if knowledge.words_changed else ""
    if not text.strip():
        return [f"Instructions:{mark}"] if mark else []
    rest = len(text) - _INSTRUCTIONS_CHARS
    cut = f"… [{rest} more characters]" if rest > 0 else ""
    return [f"Instructions{mark}: {text[:_INSTRUCTIONS_CHARS].strip()}{cut}"]


def _tools(name: str, tools: Sequence[Tool], matching: Sequence[Tool], budget: int) -> list[str]:
    whole = [f"- {_detailed(tool) if tool in matching else _signed(tool)}" for tool in tools]
    if _size(whole) <= budget:
        return whole
    hint = f'load_mcp_tools("{name}", query) shows the signatures of those that match; a name as query, all of one.'
    names = _named(tools, budget // 2 if matching else budget - len(hint))
    room = budget - _size(names) - len(hint)
    detailed: list[str] = []
    for tool in matching:
        line = f"- {_detailed(tool)}"
        room -= len(line) + 1
        if room < 0:
            break
        detailed.append(line)
    if matching and not detailed:
        detailed = [_cut(f"- {_signed(matching[0])}", budget // 3)]
    return [*detailed, "All tools:" if detailed else hint, *names]


def _named(tools: Sequence[Tool], budget: int) -> list[str]:
    """All names, with as much of their summaries as fits; names alone, by their first words, where none does."""
    for chars in (100, 60, 30):
        lines = [f"- {shown_name(tool)}: {_cut(_summary(tool), chars)}".rstrip(": ") for tool in tools]
        if _size(lines) <= budget:
            return lines
    groups: dict[str, list[str]] = {}
    left = _MOST_NAMES_CHARS
    for shown, name in enumerate(map(shown_name, tools)):
        left -= len(name) + 2
        if left < 0:
            groups["…"] = [f"and {len(tools) - shown} more, which a query finds"]
            break
        groups.setdefault((words(name) or [""])[0], []).append(name)
    return [f"- {', '.join(names)}" for names in groups.values()]


def _size(lines: Iterable[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _signed(tool: Tool) -> str:
    text = _summary(tool)
    return f"{signature(tool)} — {text}" if text else signature(tool)


def _summary(tool: Tool) -> str:
    """What a tool is for, and what is to be said of it."""
    mark = MARK if is_changed(tool) else ""
    return " ".join(part for part in (mark, summary(tool), _limits(tool)) if part)


def _limits(tool: Tool) -> str:
    """What keeps a tool from being called; specification 2025-11-25, tasks."""
    execution = tool.get("execution")
    needs_task = isinstance(execution, dict) and cast("dict[str, Any]", execution).get("taskSupport") == "required"
    return "[runs only as a task, which this gateway cannot start]" if needs_task else ""


def _detailed(tool: Tool) -> str:
    return "\n    ".join([_signed(tool), *(_cut(note, 200) for note in notes(tool))])


def whole_tool(server: str, tool: Tool) -> str:
    """Everything that a model needs of one tool: its whole description and schema."""
    parts = [f"{server}.{signature(tool)}"]
    if is_changed(tool):
        why = "its new words are left out until a person has run"
        parts.append(f"{MARK}: {why}: {trust_command(server, shown_name(tool))}")
    if description := str(tool.get("description") or "").strip():
        parts.append(description)
    if annotations := tool.get("annotations"):
        parts.append(f"Annotations: {json.dumps(annotations, ensure_ascii=False)}")
    if title := str(tool.get("title") or ""):
        parts.insert(1, f"Title: {title}")
    for key, what in (("inputSchema", "Input schema"), ("outputSchema", "Output schema")):
        if key in tool:
            parts.append(f"{what}: {json.dumps(tool[key], ensure_ascii=False, separators=(',', ':'))}")
    return visible("\n".join(parts))


def own_instructions(lines: Sequence[Line]) -> str:
    """The gateway's own instructions: a model does not use tools that it does not know of."""
    head = (
        "All MCP servers of this user stand behind this gateway. "
        'Find a tool with list_available_mcps("what you need") or load_mcp_tools(server), run it with call_mcp_tool. '
        "Servers: "
    )
    budget = _OWN_INSTRUCTIONS_CHARS - len(head)
    ready = [line for line in lines if line.ready]
    for chars in (100, 50):
        text = "; ".join(f"{line.entry.name} ({_cut(line.purpose, chars)})".replace(" ()", "") for line in ready)
        text = text or "none is ready yet; list_available_mcps() says what is missing"
        if len(text.encode()) <= budget:
            return f"{head}{text}."
    return f"{head}{_within([line.entry.name for line in ready], budget)}."
