"""Which servers there are: `servers.py`, and over it the servers file that people already have.

Reading never raises. An entry that cannot be used stays in the registry with its reason, and no
other entry suffers; a file that cannot be read leaves the last good one in force and says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mcp_gateway.settings import Limit, Seconds, Settings, variable_of

RESERVED = "gateway"
"""The name of the built-in server; no entry may take it."""

_VARIABLE = re.compile(r"\$\{(?:env:)?(?P<name>[^}]*?)(?::-(?P<default>[^}]*))?\}")
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASS|CREDENTIAL|COOKIE|SESSION|DSN|(^|_)(API_?KEY|KEY|AUTH|PAT|PWD)(_|$)|AUTHORIZATION",
    re.IGNORECASE,
)
_MIN_SECRET = 6
"""Shorter values are too common as plain words to be replaced wherever they stand."""

_TRANSPORTS = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "streamable_http": "http",
    "sse": "sse",
}


def _as_text(value: object) -> object:
    """Numbers and booleans that people write into `env` and `args` mean their text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _as_transport(value: object) -> object:
    return _TRANSPORTS.get(value.lower(), value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_as_text)]
Kind = Literal["stdio", "http", "sse"]


class ToolPolicy(BaseModel):
    """Globs over tool names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()


class EntryConfig(BaseModel):
    """One entry as it is written; unknown keys are kept to be named in the log."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Annotated[Kind | None, BeforeValidator(_as_transport)] = None
    command: str | None = None
    args: tuple[Text, ...] = ()
    env: dict[str, Text | None] = Field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, Text] = Field(default_factory=dict)
    description: str = ""
    disabled: bool = False
    init_timeout: Limit | None = None
    start_limit: Limit | None = None
    operation_timeout: Limit | None = None
    idle_timeout: Seconds | None = None
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    tools: ToolPolicy = ToolPolicy()


@dataclass(frozen=True)
class Entry:
    """One server, ready to be started or with the reason why it cannot be.

    Attributes:
        kind: How to reach it.
        command, args, env, cwd: A program over stdio; `env` holds only what the entry sets.
        url, headers: A server over HTTP.
        lacks: Variables that are not set; the server is tried all the same.
        refused: Why it cannot be started, as the end of a sentence; empty if it can.
        secrets: Values to be replaced wherever the gateway writes text of its own, with their names.
        unknown: Keys of the entry that mean nothing here.
    """

    name: str
    kind: Kind = "stdio"
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    description: str = ""
    disabled: bool = False
    init_timeout: float | None = None
    start_limit: float | None = None
    operation_timeout: float | None = None
    idle_timeout: float | None = None
    instances: int = 1
    tools: ToolPolicy = field(default_factory=ToolPolicy)
    lacks: tuple[str, ...] = ()
    refused: str = ""
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    unknown: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the server may be started."""
        return not (self.disabled or self.refused)


@dataclass(frozen=True)
class TimeLimit:
    """A limit in seconds, and what a person changes to change it."""

    seconds: float
    source: str


def time_limit(entry: Entry, settings: Settings, field: str) -> TimeLimit:
    """The limit `field` of a server: its entry's own, else the setting of all."""
    own: float | None = getattr(entry, field)
    if own is not None:
        return TimeLimit(own, f"{field}={own:g} in its entry")
    seconds: float = getattr(settings, field)
    return TimeLimit(seconds, f"{variable_of(field)}={seconds:g}")


@dataclass(frozen=True)
class Registry:
    """All servers by name, and what was wrong with the files that they came from."""

    entries: Mapping[str, Entry]
    problems: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[tuple[str, str], ...]:
        """Every secret value of every entry, with its name."""
        return tuple(pair for entry in self.entries.values() for pair in entry.secrets)


class Expansion:
    """Expands `${VAR}`, `${env:VAR}` and `${VAR:-default}`, and notes what was missing and what was secret."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Look names up in `variables`."""
        self._variables = variables
        self.secrets: list[tuple[str, str]] = []

    def text(self, text: str) -> tuple[str, list[str]]:
        """Returns the expanded text, and the names that have neither a value nor a default."""
        missing: list[str] = []

        def value(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            found = self._variables.get(name)
            if found is None and default is None:
                missing.append(name)
            elif found is not None:
                self.note(name, found)
            return found if found is not None else default or ""

        return _VARIABLE.sub(value, text), missing

    def note(self, name: str, value: str, *, secret: bool = False) -> None:
        """Remember a value as secret if its name says so."""
        if len(value) >= _MIN_SECRET and (secret or _SECRET_NAME.search(name)):
            self.secrets.append((value, name))


def parse_entry(name: str, raw: object, variables: Mapping[str, str]) -> Entry:
    """Turns one entry as written into an `Entry`; never raises."""
    try:
        config = EntryConfig.model_validate(raw)
    except ValidationError as exc:
        return Entry(name=name, refused=f"its entry is not valid: {_first_error(exc)}")
    if name == RESERVED:
        return Entry(name=name, refused=f'the name "{RESERVED}" belongs to the gateway itself; rename the entry')
    if config.disabled:
        return Entry(name=name, description=config.description, disabled=True)
    return _expand(name, config, variables)


def _first_error(exc: ValidationError) -> str:
    error = exc.errors(include_url=False)[0]
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else error["msg"]


def _kind(config: EntryConfig) -> Kind:
    if config.type:
        return config.type
    return "http" if config.url and not config.command else "stdio"


def _expand(name: str, config: EntryConfig, variables: Mapping[str, str]) -> Entry:
    expansion = Expansion(variables)
    missing: list[str] = []

    def needed(text: str) -> str:
        expanded, lacks = expansion.text(text)
        missing.extend(lacks)
        return expanded

    command, args = needed(config.command or ""), tuple(needed(arg) for arg in config.args)
    cwd = str(Path(needed(config.cwd)).expanduser()) if config.cwd else None
    url = needed(config.url or "")
    headers = {key: needed(value) for key, value in config.headers.items()}
    for key, value in headers.items():
        expansion.note(key, value, secret=True)
    env, left_out = _expand_env(config.env, expansion)
    kind = _kind(config)
    return Entry(
        name=name,
        kind=kind,
        command=command,
        args=args,
        env=env,
        cwd=cwd,
        url=url,
        headers=headers,
        description=config.description,
        init_timeout=config.init_timeout,
        start_limit=config.start_limit,
        operation_timeout=config.operation_timeout,
        idle_timeout=config.idle_timeout,
        instances=config.instances,
        tools=config.tools,
        lacks=_unique([*missing, *left_out]),
        refused=_refusal(kind, command, url, missing),
        secrets=tuple(sorted(set(expansion.secrets), key=lambda pair: -len(pair[0]))),
        unknown=tuple(sorted(config.model_extra or ())),
    )


def _expand_env(env: Mapping[str, str | None], expansion: Expansion) -> tuple[dict[str, str], list[str]]:
    """A variable without a value is left out, for many servers list their tools without a key."""
    kept: dict[str, str] = {}
    left_out: list[str] = []
    for key, value in env.items():
        expanded, missing = expansion.text(value or "")
        left_out.extend(missing)
        if missing or (value and not expanded):
            continue
        expansion.note(key, expanded)
        kept[key] = expanded
    return kept, left_out


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _refusal(kind: Kind, command: str, url: str, missing: list[str]) -> str:
    if missing:
        return f"it lacks {', '.join(_unique(missing))}: set it in the environment or in .env"
    if kind == "stdio" and not command:
        return 'its entry names neither a "command" nor a "url"'
    if kind != "stdio" and not url.startswith(("http://", "https://")):
        return f'its entry is of type "{kind}" and needs a "url" that begins with http:// or https://'
    return ""


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
            merged[name] = {**before, **after, "env": {**before.get("env", {}), **after.get("env", {})}}
    return merged


def read_servers(file: Path) -> dict[str, Any]:
    """Entries of a servers file, as written; none where there is no file.

    Raises:
        ValueError: The file is there and cannot be understood; the text says what to do.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"{file} cannot be read ({exc})"
        raise ValueError(msg) from exc
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except json.JSONDecodeError as exc:
        msg = f"{file} is not valid JSON (line {exc.lineno}, column {exc.colno}: {exc.msg})"
        raise ValueError(msg) from exc
    return _servers_of(document, file)


def _servers_of(document: object, file: Path) -> dict[str, Any]:
    if isinstance(document, dict):
        known = cast("dict[str, Any]", document)
        for key in ("mcpServers", "servers"):
            if isinstance(known.get(key), dict):
                return known[key]
    msg = f'{file} has no object "mcpServers" with the servers by name'
    raise ValueError(msg)


def build_registry(
    base: Mapping[str, Any], over: Mapping[str, Any], variables: Mapping[str, str], problems: Iterable[str] = ()
) -> Registry:
    """All entries, expanded; pure."""
    merged = merge(base, over)
    return Registry({name: parse_entry(name, raw, variables) for name, raw in merged.items()}, tuple(problems))


class RegistryFile:
    """The registry of a gateway, read again whenever one of its files has changed."""

    def __init__(
        self,
        base: Mapping[str, Any],
        config: Path,
        dotenv: Iterable[Path],
        variables: Callable[[], Mapping[str, str]],
    ) -> None:
        """Watch `config` and the `dotenv` files; `variables` reads those files too."""
        self._base = base
        self._config = config
        self._watched = (config, *dotenv)
        self._variables = variables
        self._seen: object = None
        self._over: dict[str, Any] = {}
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
        try:
            self._over = read_servers(self._config)
        except ValueError as exc:
            problems.append(f"{exc}; the last good version is in force")
        return build_registry(self._base, self._over, self._variables(), problems)


def _stamp(file: Path) -> object:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
