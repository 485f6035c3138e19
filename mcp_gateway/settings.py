"""The gateway's settings: one typed place, read once from `GATEWAY_*` variables.

Variables come from the process, then from `.env` beside `gateway.py`, then from `.env` in the home
folder. A value that cannot be read is named in `Settings.problems` and the default stands.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

PREFIX = "GATEWAY_"

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseModel):
    """What a person can set; durations in seconds, sizes in characters of text."""

    model_config = ConfigDict(frozen=True)

    home: Path = Path.home() / ".claude-mcp-gateway"
    """Folder for the catalog, logs, results, the servers file and `.env`."""
    config: Path | None = None
    """The servers file; `servers.json` in the home folder where unset."""
    init_timeout: Limit = 30
    """How long a call waits for a child to be ready before it answers "still starting"."""
    start_limit: Limit = 180
    """When a start is given up."""
    operation_timeout: Limit = 300
    """How long a child may take to answer one call."""
    question_timeout: Limit = 600
    """How long a question of a server to the user may wait for its answer."""
    idle_timeout: Seconds = 600
    """How long an unused child is kept; 0 keeps it for ever."""
    max_result_chars: Annotated[int, Field(ge=0)] = 80_000
    """Characters of text that are shown of one result; 0: no limit."""
    ask: Annotated[Literal["", "destructive"], BeforeValidator(_lower)] = ""
    """`destructive`: the user is asked before each call of a tool that is not declared to be read-only."""
    read_only: bool = False
    """Whether only tools that are declared to be read-only may be called."""
    shortcuts: bool = True
    """Whether what `npx` and `uvx` end up running is started directly from the second time on."""
    http_token: Annotated[str, Field(repr=False)] = ""
    """What clients of `serve --http` have to send as a bearer token; needed beyond loopback."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    """Least level that is written to the log."""
    problems: tuple[str, ...] = ()
    """Settings that could not be read, as sentences."""

    @property
    def config_file(self) -> Path:
        """The servers file that is read and watched."""
        return self.config or self.home / "servers.json"

    @classmethod
    def load(cls, variables: Mapping[str, str]) -> Settings:
        """Read `GATEWAY_*` from `variables`; never raises, see `problems`."""
        values: dict[str, object] = {}
        problems: list[str] = []
        for name in cls.model_fields:
            raw = variables.get(variable_of(name), "").strip()
            if raw and name != "problems":
                _read(name, raw, values, problems)
        return cls.model_validate({**values, "problems": tuple(problems)})


def variable_of(field: str) -> str:
    """The variable that sets a field: `init_timeout` → `GATEWAY_INIT_TIMEOUT`."""
    return PREFIX + field.upper()


def _read(name: str, raw: str, values: dict[str, object], problems: list[str]) -> None:
    value = str(Path(raw).expanduser()) if name in {"home", "config"} else raw
    try:
        Settings.model_validate({name: value})
    except ValidationError as exc:
        reason = exc.errors(include_url=False)[0]["msg"]
        default = Settings.model_fields[name].default
        problems.append(f"{variable_of(name)}={raw!r} is not usable ({reason}); {default} is used")
    else:
        values[name] = value


def read_variables(environ: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """Merge variables: the process first, then each `.env` file in order; blank values count as unset."""
    merged: dict[str, str] = {}
    for source in (environ, *(_read_dotenv(file) for file in files)):
        for name, value in source.items():
            if value.strip():
                merged.setdefault(name, value)
    return merged


def _read_dotenv(file: Path) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return {}
    parsed = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in parsed.items() if value}


def load_settings(project: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of a gateway whose `gateway.py` stands in the folder `project`."""
    first = Settings.load(read_variables(environ, [project / ".env"]))
    return Settings.load(read_variables(environ, dotenv_files(project, first.home)))


def dotenv_files(project: Path, home: Path) -> list[Path]:
    """The `.env` files, in the order in which they are asked."""
    return [project / ".env", home / ".env"]


def forever_if_zero(seconds: float) -> float:
    """0 stands for no limit."""
    return seconds or math.inf
