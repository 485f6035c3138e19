"""An open way to a server, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import RequestId

from mcp_gateway.wire import Incoming


class Outgoing(Protocol):
    """The SDK's stream of messages to a peer."""

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message."""
        ...

    async def aclose(self) -> None:
        """Write no more."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None: ...


@dataclass
class Link:
    """An open way to a server.

    Attributes:
        read, write: Messages, as the SDK's dispatcher takes them.
        ended: Set when no more messages can come.
        how_it_ended: The end of a sentence whose subject is the server.
        last_words: What the server said last outside the protocol.
        written: Ids of requests that have left; None where the transport cannot tell.
        statuses: Errors of HTTP by the id of the request that they answered.
        dropped: Ids of requests whose answer broke off on the way.
        expired: Ids of requests that a server refused unread, for it has forgotten the session.
        ready: Set by the owner of the run when the server can be used.
        shortcut: Whether the program was started without its launcher, so that a failure may be the shortcut's.
    """

    read: Incoming
    write: Outgoing
    ended: anyio.Event
    how_it_ended: Callable[[], str]
    last_words: Callable[[], str] = field(default=lambda: "")
    written: set[RequestId] | None = None
    statuses: dict[RequestId, str] = field(default_factory=dict["RequestId", str])
    dropped: set[RequestId] = field(default_factory=set["RequestId"])
    expired: set[RequestId] = field(default_factory=set["RequestId"])
    ready: anyio.Event = field(default_factory=anyio.Event)
    shortcut: bool = False
