"""A person looks at what has changed in a server since it was trusted, and trusts it, or not."""

from __future__ import annotations

from collections.abc import Callable

from mcp_gateway.errors import UnknownTool
from mcp_gateway.knowledge import Knowledge, shown_name
from mcp_gateway.menu import counted
from mcp_gateway.pool import Pool
from mcp_gateway.search import near_names
from mcp_gateway.trust import WORDS, Change


def review(pool: Pool, name: str, tool: str, say: Callable[[str], None], agree: Callable[[str], bool]) -> bool:
    """Shows each difference, then asks `agree` and trusts what was shown; whether nothing is left to be trusted.

    Nothing is started: it is about what the server said when it ran last. `tool` is one of its tools, or empty.

    Raises:
        GatewayError: There is no such server or tool.
    """
    entry = pool.entry(name)
    known = pool.catalog.recall(entry)
    changes = [change for change in pool.catalog.changes(name) if tool in {"", change.key, _shown(change)}]
    if not changes:
        say(_nothing(name, tool, known))
        return True
    shown: list[Change] = []
    for change in changes:
        if any((change.key, change.before, change.now) == (one.key, one.before, one.now) for one in shown):
            continue
        shown.append(change)
        what = "what it says of itself" if change.key == WORDS else f'the tool "{_shown(change)}"'
        say(f"{name}: {what} has changed since it was first seen:\n{change.difference()}\n")
    if not agree(f"Trust {'this' if len(shown) == 1 else f'these {len(shown)} changes'} from now on?"):
        say("Nothing is trusted anew.")
        return False
    if not pool.catalog.trust(name, changes):
        say("The catalog cannot be written now; the log says why.")
        return False
    say(f'{counted(len(shown), "change")} of "{name}" trusted.')
    return True


def _shown(change: Change) -> str:
    """The tool's name as `load_mcp_tools` writes it."""
    return shown_name({"name": change.key})


def _nothing(name: str, tool: str, known: Knowledge | None) -> str:
    """Why there is nothing to be trusted."""
    if known is None:
        return f'Nothing is known of "{name}" yet; what it says first is trusted.'
    if tool and known.tool(tool) is None:
        raise UnknownTool(name, tool, near_names(tool, known.names))
    return f'{f"The tool {tool!r}" if tool else "Nothing"} of "{name}" has {"not " if tool else ""}changed.'
