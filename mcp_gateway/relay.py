"""What crosses between a client's call and a child's: parameters, progress, and the eras.

Cancellation needs nothing here: the SDK cancels the task of a call that the client gave up, and a
request that is abandoned tells the child.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mcp.server.context import ServerRequestContext
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_gateway import logs
from mcp_gateway.results import Result, text_result

logger = logging.getLogger(logs.LOGGER)

_OURS = {
    "progressToken",
    PROTOCOL_VERSION_META_KEY,
    CLIENT_INFO_META_KEY,
    CLIENT_CAPABILITIES_META_KEY,
    LOG_LEVEL_META_KEY,
}
"""Keys of a request's `_meta` that speak of this hop alone."""
_SMALL = 1e-6


@dataclass
class Caller:
    """The client's side of one call.

    Attributes:
        modern: Whether it speaks 2026-07-28 or later.
        meta: What it sent in `_meta` for the tool.
        progress: Receives progress, where the client asked for it.
    """

    modern: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    progress: ProgressFnT | None = None
    _noted: float = 0.0

    @classmethod
    def of(cls, ctx: ServerRequestContext[Any, Any]) -> Caller:
        """The caller of the request that `ctx` belongs to."""
        sent: object = (ctx.params or {}).get("_meta")
        meta = cast("Mapping[str, Any]", sent) if isinstance(sent, dict) else dict[str, Any]()
        return cls(
            modern=ctx.protocol_version in MODERN_PROTOCOL_VERSIONS,
            meta={key: value for key, value in meta.items() if key not in _OURS},
            progress=ctx.session.report_progress,
        )

    async def note(self, message: str) -> None:
        """Tells the client what it is waiting for; too small a progress to be in the child's way."""
        if self.progress is not None:
            self._noted += _SMALL
            await self.progress(self._noted, None, message)


def for_client(result: Result, caller: Caller) -> Result:
    """A child's result in the envelope of the client's era; what it holds stays as it is."""
    kind = result.get("resultType")
    if kind == "input_required":
        return text_result(
            "The server asks for input from the user, which this gateway cannot pass on yet.", is_error=True
        )
    if caller.modern:
        return result if kind is not None else {**result, "resultType": "complete"}
    adapted = {key: value for key, value in result.items() if key != "resultType"}
    structured = adapted.get("structuredContent")
    if structured is not None and not isinstance(structured, dict):
        adapted["structuredContent"] = {"result": structured}
    adapted.setdefault("content", [])
    return adapted
