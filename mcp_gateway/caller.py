"""Whom the gateway serves: a client, and one request of it.

A server's question goes to the client for which it works. Clients never meet: what belongs to one is
found by its key alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

Json = Mapping[str, Any]

Ask = Callable[[str, Json], Awaitable[dict[str, Any]]]
"""Sends a request to a client: method, parameters; its result, or an error of the protocol."""

Tell = Callable[[str, Json], Awaitable[None]]
"""Sends a notification to a client."""

CARRIED = ("elicitation", "sampling", "roots")
"""Capabilities of a client that the gateway can pass on to a server."""

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, the least severe first; specification 2025-11-25, server/utilities/logging."""

_SMALL = 1e-6


class Progress(Protocol):
    """Receives the progress of a request."""

    async def __call__(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """One step."""
        ...


def as_dict(value: object) -> dict[str, Any]:
    """The value if it is a JSON object, and an empty one if it is not."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def carried(capabilities: object) -> dict[str, Any]:
    """What of a client's capabilities a server may be told."""
    declared = as_dict(capabilities)
    return {name: declared[name] for name in CARRIED if isinstance(declared.get(name), dict)}


def wants(level: str, least: str) -> bool:
    """Whether a log message of that level is for somebody who asked for `least`; empty: for nobody."""
    return least in LEVELS and level in LEVELS and LEVELS.index(level) >= LEVELS.index(least)


class CallerGone(Exception):
    """The request that was to carry a question is over; another one may carry it."""


@dataclass(eq=False)
class Client:
    """One client of the gateway.

    Attributes:
        key: What tells it from others; empty where there is only one.
        modern: Whether it speaks 2026-07-28 or later, which knows no requests of servers.
        capabilities: What it can do of what a server may ask, see `CARRIED`.
        ask, tell: Reach it outside of any request; None where nothing does.
        log_level: The least severe log messages that it has asked for; empty: none.
    """

    key: str = ""
    modern: bool = False
    capabilities: Json = field(default_factory=dict[str, Any])
    ask: Ask | None = None
    tell: Tell | None = None
    log_level: str = ""

    def __repr__(self) -> str:
        return f"<Client {self.key or 'alone'}{' modern' if self.modern else ''}>"


@dataclass(eq=False)
class Caller:
    """One request of a client.

    Attributes:
        meta: What it sent in `_meta` for the server.
        progress: Receives progress.
        ask, tell: Reach the client as a part of this request.
        log_level: The least severe log messages that it wants of this request; empty: none.
        agreed: Calls that the user has agreed to.
        answers: What it sent to go on with a call that had asked: `inputResponses` and `requestState`.
    """

    client: Client = field(default_factory=Client)
    meta: Json = field(default_factory=dict[str, Any])
    progress: Progress | None = None
    ask: Ask | None = None
    tell: Tell | None = None
    log_level: str = ""
    answers: Json = field(default_factory=dict[str, Any])
    agreed: set[object] = field(default_factory=set[object])
    _noted: float = 0.0

    async def note(self, message: str) -> None:
        """Tells the client what it is waiting for; too small a progress to be in the server's way."""
        if self.progress is not None:
            self._noted += _SMALL
            await self.progress(self._noted, None, message)
