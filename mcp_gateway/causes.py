"""Why a run came to nothing: the one cause in what was raised, and what it says."""

from __future__ import annotations

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED
from pydantic import ValidationError

from mcp_gateway.visible import one_line

_SAID_CHARS = 500
"""Of what a server says on why it does not start."""


def closed(cause: BaseException) -> bool:
    """Whether the connection was closed, which says nothing of why."""
    return isinstance(cause, anyio.ClosedResourceError) or (
        isinstance(cause, MCPError) and cause.code == CONNECTION_CLOSED
    )


def only(exc: BaseException) -> BaseException:
    """The one exception inside nested groups of one."""
    inside: tuple[BaseException, ...] = getattr(exc, "exceptions", ())
    return only(inside[0]) if len(inside) == 1 else exc


def explained(cause: BaseException) -> str:
    """The cause in words, as the end of a sentence."""
    if isinstance(cause, MCPError):
        return f"it answered with error {cause.code}: {one_line(cause.message, _SAID_CHARS)}"
    if isinstance(cause, ValidationError):
        return f"its first answer is not valid: {cause.errors(include_url=False)[0]['msg']}"
    return one_line(str(cause), _SAID_CHARS) or type(cause).__name__
