"""The registry: `servers.py`, and over it the servers file that people already have.

A file that cannot be read leaves the last good one in force and says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from mcp_gateway.caller import as_dict
from mcp_gateway.registry import Entry, ToolPolicy, parse_entry
from mcp_gateway.secrets import Secret

_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)


@dataclass(frozen=True)
class Registry:
    """All servers by name, and what was wrong with the files that they came from."""

    entries: Mapping[str, Entry]
    problems: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every secret value of every entry, with its name."""
        return tuple(pair for entry in self.entries.values() for pair in entry.secrets)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lays the servers file over `servers.py`, entry by entry.

    An entry that says how to start its server replaces the whole; one that does not (to disable
    it, to set a time limit, to add to `env`) changes only the keys that it names.
    """
    merged = dict(base)
    for name, entry in over.items():
        known = merged.get(name)
        if not isinstance(known, dict) or not isinstance(entry, dict):
            merged[name] = entry
            continue
        before, after = cast("dict[str, Any]", known), cast("dict[str, Any]", entry)
        if {"command", "url"} & after.keys():
            merged[name] = {"description": before.get("description", ""), **after}
        else:
            merged[name] = {**before, **after, "env": _merge_env(before.get("env"), after.get("env"))}
    return merged


def _merge_env(before: object, after: object) -> object:
    """Both, where both are objects; else the later one, for the entry's own check to judge."""
    if before is None or after is None:
        return after if before is None else before
    if isinstance(before, dict) and isinstance(after, dict):
        return {**cast("dict[str, Any]", before), **cast("dict[str, Any]", after)}
    return after


@dataclass(frozen=True)
class Written:
    """A servers file as it is written: entries by name, and the rules for the tools of all."""

    servers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tools: ToolPolicy = field(default_factory=ToolPolicy)


def read_servers(file: Path) -> dict[str, Any]:
    """Entries of a servers file, see `read_file`."""
    return dict(read_file(file).servers)


def read_file(file: Path) -> Written:
    """A servers file, as written; with nothing in it where there is no file.

    Raises:
        ValueError: The file is there and cannot be understood; the text says what to do.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Written()
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"{file} cannot be read ({exc})"
        raise ValueError(msg) from exc
    if not text.strip():
        return Written()
    try:
        document = json.loads(plain_json(text))
    except json.JSONDecodeError as exc:
        msg = f"{file} is not valid JSON (line {exc.lineno}, column {exc.colno}: {exc.msg})"
        raise ValueError(msg) from exc
    except RecursionError as exc:
        msg = f"{file} is nested too deeply"
        raise ValueError(msg) from exc
    return Written(_servers_of(document, file), _tools_of(document, file))


def plain_json(text: str) -> str:
    """JSON as VS Code lets people write it, without its comments and last commas; lines stay where they are."""
    without = _COMMENT.sub(lambda match: match[1] or re.sub(r"[^\n]", " ", match[0]), text)
    return _LAST_COMMA.sub(lambda match: match[1] or " ", without)


def _servers_of(document: object, file: Path) -> dict[str, Any]:
    if isinstance(document, dict):
        known = cast("dict[str, Any]", document)
        for key in ("mcpServers", "servers"):
            if isinstance(known.get(key), dict):
                return known[key]
    msg = f'{file} has no object "mcpServers" with the servers by name'
    raise ValueError(msg)


def _tools_of(document: object, file: Path) -> ToolPolicy:
    """The rules for all; what cannot be understood here must not be taken for no rule."""
    written = as_dict(document).get("tools")
    try:
        return ToolPolicy() if written is None else ToolPolicy.model_validate(written)
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        where = ".".join(("tools", *map(str, error["loc"])))
        msg = f"{file} is not valid ({where}: {error['msg']})"
        raise ValueError(msg) from exc


def build_registry(
    base: Mapping[str, Any], over: Written, variables: Mapping[str, str], problems: Iterable[str] = ()
) -> Registry:
    """All entries, expanded; pure."""
    merged = merge(base, over.servers)
    parsed = {name: parse_entry(name, raw, variables) for name, raw in merged.items()}
    return Registry({name: replace(entry, everywhere=over.tools) for name, entry in parsed.items()}, tuple(problems))


class RegistryFile:
    """The registry of a gateway, read again whenever one of its files has changed."""

    def __init__(
        self,
        base: Mapping[str, Any],
        config: Path,
        dotenv: Iterable[Path],
        variables: Callable[[], Mapping[str, str]],
        *,
        required: bool = False,
    ) -> None:
        """Watch `config` and the `dotenv` files; `variables` reads those files too.

        With `required` it is a problem if `config` is not there, for somebody has named it.
        """
        self._required = required
        self._base = base
        self._config = config
        self._watched = (config, *dotenv)
        self._variables = variables
        self._seen: object = None
        self._over = Written()
        self._registry = Registry({})

    def __repr__(self) -> str:
        return f"<RegistryFile {self._config} {len(self._registry.entries)} servers>"

    def poll(self) -> Registry:
        """The registry as the files stand now; the same object while none has changed."""
        seen = tuple(_stamp(file) for file in self._watched)
        if seen != self._seen:
            self._seen = seen
            self._registry = self._read()
        return self._registry

    def _read(self) -> Registry:
        problems: list[str] = []
        if self._required and not self._config.exists():
            problems.append(f"GATEWAY_CONFIG names {self._config}, which is not there")
        try:
            self._over = read_file(self._config)
        except ValueError as exc:
            problems.append(f"{exc}; the last good version is in force")
        return build_registry(self._base, self._over, self._variables(), problems)


def _stamp(file: Path) -> object:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
