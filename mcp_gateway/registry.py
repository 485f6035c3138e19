"""One server as a person has written it, and as it can be started.

Reading an entry never raises: one that cannot be used has the reason in it, and no other suffers.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mcp_gateway import secrets
from mcp_gateway.secrets import Secret
from mcp_gateway.settings import Limit, Seconds, Settings, variable_of

RESERVED = "gateway"
"""The name of the built-in server; no entry may take it."""

_VARIABLE = re.compile(r"\$\{(?:env:)?(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|\$\{(?P<input>input:[^}]*)\}")

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


def _none_is(empty: Callable[[], object]) -> BeforeValidator:
    """People write `null` for nothing."""
    return BeforeValidator(lambda value: empty() if value is None else value)


Text = Annotated[str, BeforeValidator(_as_text)]
Kind = Literal["stdio", "http", "sse"]
Pinning = Literal["warn", "block", "off"]
"""What becomes of a tool that is not as it was when it was first seen: shown as such, refused too, or nothing."""


class ToolPolicy(BaseModel):
    """Globs over tool names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()


def _as_auth(value: object) -> object:
    """`"auth": "oauth"` is short for an object with that type."""
    return {"type": value} if isinstance(value, str) else value


class AuthConfig(BaseModel):
    """How to log in at a server over HTTP; OAuth 2.1.

    Attributes:
        type: A person logs in (`oauth`), or a program with an id and a secret (`client_credentials`).
        client_id, client_secret: A client that is registered already; needed by `client_credentials`.
        private_key, algorithm: In place of a secret: a key in PEM form that signs (RFC 7523), and how.
        scope: Scopes to ask for, in place of those that the server names.
        client_metadata_url: In place of a registration: a URL at which a person has published one (CIMD).
        issuer: The authorization server that the id belongs to; the id is sent to no other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["oauth", "client_credentials"] = "oauth"
    client_id: str = ""
    client_secret: str = Field("", repr=False)
    private_key: str = Field("", repr=False)
    algorithm: str = "RS256"
    client_metadata_url: str = ""
    scope: str = ""
    issuer: str = ""


class EntryConfig(BaseModel):
    """One entry as it is written; unknown keys are kept to be named in the log."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Annotated[Kind | None, BeforeValidator(_as_transport)] = None
    command: str | None = None
    args: Annotated[list[Text], _none_is(list)] = []
    env: Annotated[dict[str, Text | None], _none_is(dict)] = {}
    cwd: str | None = None
    url: str | None = None
    headers: Annotated[dict[str, Text], _none_is(dict)] = {}
    description: Annotated[str, _none_is(str)] = ""
    disabled: bool = False
    enabled: bool = True
    init_timeout: Limit | None = None
    start_limit: Limit | None = None
    operation_timeout: Limit | None = None
    idle_timeout: Seconds | None = None
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    shared: bool = False
    auth: Annotated[AuthConfig | None, BeforeValidator(_as_auth)] = None
    tools: ToolPolicy = ToolPolicy()
    pin: Pinning = "warn"


@dataclass(frozen=True)
class Entry:
    """One server, ready to be started or with the reason why it cannot be.

    Attributes:
        kind: How to reach it.
        command, args, env, cwd: A program over stdio; `env` holds only what the entry sets.
        url, headers, auth: A server over HTTP, and how to log in there.
        shared: Whether several clients of one gateway use the same processes.
        tools, everywhere: Globs over tools: the entry's own, and those for all servers.
        pin: What becomes of tools that have changed.
        lacks: Variables that are not set; the server is tried all the same.
        refused: Why it cannot be started, as the end of a sentence; empty if it can.
        secrets: Values to be replaced wherever the gateway writes text of its own, with their names.
        unknown: Keys of the entry that mean nothing here.
        fingerprint: A hash of what decides which tools the server has; no secret goes into it.
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
    shared: bool = False
    auth: AuthConfig | None = None
    tools: ToolPolicy = field(default_factory=ToolPolicy)
    everywhere: ToolPolicy = field(default_factory=ToolPolicy)
    pin: Pinning = "warn"
    lacks: tuple[str, ...] = ()
    refused: str = ""
    secrets: tuple[Secret, ...] = field(default=(), repr=False)
    unknown: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def obstacle(self) -> str:
        """Why the server may not be started, as the end of a sentence; empty if it may."""
        return 'it is disabled ("disabled": true in its entry)' if self.disabled else self.refused

    @property
    def usable(self) -> bool:
        """Whether the server may be started."""
        return not self.obstacle

    @property
    def login(self) -> str:
        """The command by which a person logs in; empty where the entry brings its own credentials."""
        own = any(name.lower() == "authorization" for name in self.headers)
        machine = self.auth is not None and self.auth.type == "client_credentials"
        return "" if self.kind == "stdio" or own or machine else f"python gateway.py login {shlex.quote(self.name)}"

    @property
    def launch(self) -> object:
        """What a running child was started with: where this is the same, it can go on running."""
        return (
            self.usable,
            self.kind,
            self.command,
            self.args,
            self.env,
            self.cwd,
            self.url,
            self.headers,
            self.auth,
            self.shared,
        )


@dataclass(frozen=True)
class TimeLimit:
    """A limit in seconds, and what a person changes to change it."""

    seconds: float
    source: str


def time_limit(entry: Entry, settings: Settings, field: str) -> TimeLimit:
    """The limit `field` of a server: its entry's own, if it has one, else the setting of all."""
    own: float | None = getattr(entry, field, None)
    if own is not None:
        return TimeLimit(own, f"{field}={own:g} in its entry")
    seconds: float = getattr(settings, field)
    return TimeLimit(seconds, f"{variable_of(field)}={seconds:g}")


@dataclass(frozen=True)
class Limits:
    """How long things may take for one server."""

    start: TimeLimit
    operation: TimeLimit
    idle: TimeLimit
    question: TimeLimit


def limits_of(entry: Entry, settings: Settings) -> Limits:
    """The limits of a server."""
    return Limits(
        start=time_limit(entry, settings, "start_limit"),
        operation=time_limit(entry, settings, "operation_timeout"),
        idle=time_limit(entry, settings, "idle_timeout"),
        question=time_limit(entry, settings, "question_timeout"),
    )


class Expansion:
    """Expands `${VAR}`, `${env:VAR}` and `${VAR:-default}`, and notes what was secret; the rest stays as it is."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Look names up in `variables`."""
        self._variables = variables
        self.secrets: list[Secret] = []

    def text(self, text: str) -> tuple[str, list[str]]:
        """Returns the expanded text, and the names that have neither a value nor a default."""
        missing: list[str] = []

        def value(match: re.Match[str]) -> str:
            name, default = match["input"] or match["name"], match["default"]
            found = self._variables.get(name)
            if found is None and default is None:
                missing.append(name)
            elif found is not None:
                self.secrets.extend(secrets.of_value(name, found))
            return found if found is not None else default or ""

        return _VARIABLE.sub(value, text), missing


def parse_entry(name: str, raw: object, variables: Mapping[str, str]) -> Entry:
    """Turns one entry as written into an `Entry`; never raises."""
    try:
        json.dumps([name, raw], ensure_ascii=False, default=str).encode()
        config = EntryConfig.model_validate(raw)
        if config.disabled or not config.enabled:
            return Entry(name=name, description=config.description, disabled=True)
        refused = _bad_name(name)
        return Entry(name=name, refused=refused) if refused else _expand(name, config, variables)
    except UnicodeEncodeError:
        shown = name.encode(errors="replace").decode()
        return Entry(name=shown, refused="its entry holds half of a surrogate pair, which is no character")
    except ValidationError as exc:
        return Entry(name=name, refused=f"its entry is not valid: {_first_error(exc)}")
    except RuntimeError as exc:
        return Entry(name=name, refused=f"its folder cannot be found: there is no home for that user ({exc})")


def _bad_name(name: str) -> str:
    if name == RESERVED:
        return f'the name "{RESERVED}" belongs to the gateway itself; rename the entry'
    return "" if name.strip() else "its entry has no name; give it one"


def _first_error(exc: ValidationError) -> str:
    error = exc.errors(include_url=False)[0]
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else 'it has to be an object, such as {"command": "npx", "args": []}'


def _kind(config: EntryConfig) -> Kind:
    if config.type:
        return config.type
    if not config.url or config.command:
        return "stdio"
    return "sse" if config.url.partition("?")[0].rstrip("/").endswith("/sse") else "http"


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
    env, left_out = _expand_env(config.env, expansion)
    for key, value in [*headers.items(), *env.items(), ("", url)]:
        expansion.secrets.extend(secrets.of_value(key, value))
    expansion.secrets.extend(secrets.of_words(args))
    auth = config.auth and config.auth.model_copy(
        update={key: needed(value) for key, value in config.auth.model_dump().items()}
    )
    if auth is not None:
        expansion.secrets.extend(secrets.of_value("client_secret", auth.client_secret))
        expansion.secrets.extend(secrets.of_value("private_key", auth.private_key))
    kind = _kind(config)
    unknown = tuple(sorted(config.model_extra or ()))
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
        shared=config.shared,
        auth=auth,
        tools=config.tools,
        pin=config.pin,
        lacks=_unique([*missing, *left_out]),
        refused=_lacking(missing) or _refusal(kind, command, url, unknown) or _bad_headers(headers) or _bad_auth(auth),
        secrets=tuple(sorted(set(expansion.secrets))),
        unknown=unknown,
        fingerprint=_fingerprint(config, left_out),
    )


def _fingerprint(config: EntryConfig, left_out: Iterable[str]) -> str:
    """The entry as written, before any variable is put in, and which variables are not set."""
    written = {
        "server": [_kind(config), config.command, config.args, config.cwd, config.url],
        "env": {key: "" if secrets.is_secret(key) else value for key, value in config.env.items()},
        "headers": {key: "" if secrets.is_secret(key) else value for key, value in config.headers.items()},
        "lacks": sorted(set(left_out)),
    }
    text = json.dumps(written, sort_keys=True)
    for value, name in secrets.of_words([*config.args, config.url or ""]):
        text = text.replace(json.dumps(value)[1:-1], name)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _expand_env(env: Mapping[str, str | None], expansion: Expansion) -> tuple[dict[str, str], list[str]]:
    """A variable without a value is left out, for many servers list their tools without a key."""
    kept: dict[str, str] = {}
    left_out: list[str] = []
    for key, value in env.items():
        expanded, missing = expansion.text(value or "")
        left_out.extend(missing)
        if missing or (value and not expanded):
            continue
        kept[key] = expanded
    return kept, left_out


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _lacking(missing: Iterable[str]) -> str:
    names = _unique(missing)
    asked = [name for name in names if name.startswith("input:")]
    if asked:
        return f"nobody can be asked for ${{{asked[0]}}} here; write a variable such as ${{MY_KEY}} instead, and set it"
    return f"it {lacking(names)}" if names else ""


def lacking(names: tuple[str, ...]) -> str:
    """What to do about variables that are not set, as the end of a sentence."""
    return f"lacks {', '.join(names)}: set {'it' if len(names) == 1 else 'them'} in the environment or in .env"


def _refusal(kind: Kind, command: str, url: str, unknown: tuple[str, ...]) -> str:
    """Why an entry cannot be started by what it says."""
    hint = f"; these keys mean nothing here: {', '.join(unknown)}" if unknown else ""
    if kind == "stdio":
        return "" if command else f'its entry names neither a "command" nor a "url"{hint}'
    try:
        valid = bool(urlsplit(url).hostname) and url.startswith(("http://", "https://"))
    except ValueError:
        valid = False
    return "" if valid else f'its entry needs a "url" that begins with http:// or https://{hint}'


def _bad_auth(auth: AuthConfig | None) -> str:
    if auth is None or auth.type == "oauth" or (auth.client_id and (auth.client_secret or auth.private_key)):
        return ""
    return 'its "auth" of type "client_credentials" needs a "client_id" and a "client_secret" or "private_key"'


def _bad_headers(headers: Mapping[str, str]) -> str:
    """HTTP headers hold what ASCII has; RFC 9110, section 5.5."""
    bad = [name for name, value in headers.items() if not (name + value).isascii() or not value.isprintable()]
    return f"its header {bad[0]} holds characters that a header cannot carry" if bad else ""
