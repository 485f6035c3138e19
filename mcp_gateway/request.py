"""One request as it goes to a server, and the clock that it runs against."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
from mcp.shared.inbound import (
    MCP_NAME_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    Implementation,
)

from mcp_gateway import __version__
from mcp_gateway.caller import Caller, Json

CALL = "tools/call"
CLIENT_INFO = Implementation(name="claude-mcp-gateway", version=__version__)
_CLIENT_INFO = CLIENT_INFO.model_dump(by_alias=True, exclude_none=True)

_NOUNS = {CALL: ("tool", "name"), "prompts/get": ("prompt", "name"), "resources/read": ("resource", "uri")}


@dataclass(frozen=True)
class Request:
    """One request as it goes to a server.

    Attributes:
        method: The method of the protocol.
        params: All its parameters; what the client sent in `_meta` included.
        caller: The client's request on whose behalf it is sent.
        schema: The tool's input schema, if known; HTTP servers may want some arguments as headers.
    """

    method: str
    params: Mapping[str, Any]
    caller: Caller = field(default_factory=Caller)
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def what(self) -> str:
        """What is asked for, as the beginning of a sentence: `The tool "x"`."""
        noun, key = _NOUNS.get(self.method, ("request", ""))
        return f'The {noun} "{self.params.get(key, self.method)}"'

    @property
    def harmless(self) -> bool:
        """Whether it changes nothing by its method alone."""
        return self.method != CALL

    def headers(self) -> dict[str, str]:
        """What a server over HTTP reads from headers; specification 2026-07-28, basic/transports."""
        headers: dict[str, str] = {}
        name: object = self.params.get(NAME_BEARING_METHODS.get(self.method, ""))
        if isinstance(name, str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
        if self.method == CALL:
            arguments = cast("Json", self.params.get("arguments") or {})
            headers.update(mcp_param_headers(x_mcp_header_map(self.schema), arguments))
        return headers


def envelope(caller: Caller, version: str) -> dict[str, Any]:
    """What every request to a 2026-07-28 server carries."""
    envelope: dict[str, Any] = {
        PROTOCOL_VERSION_META_KEY: version,
        CLIENT_INFO_META_KEY: _CLIENT_INFO,
        CLIENT_CAPABILITIES_META_KEY: caller.client.capabilities,
    }
    level = caller.log_level or caller.client.log_level
    return {**envelope, LOG_LEVEL_META_KEY: level} if level else envelope


class Clock:
    """Ends a block after some seconds, not counting those in which a person is being asked."""

    def __init__(self, seconds: float) -> None:
        """Nothing runs yet."""
        self._left = seconds
        self._pauses = 0
        self._scope = anyio.CancelScope()

    @contextmanager
    def running(self) -> Generator[None]:
        """Leaves the block when the time is over."""
        with self._scope:
            self._go()
            yield

    @contextmanager
    def paused(self) -> Generator[None]:
        """Stands still for as long as this block lasts; blocks may overlap."""
        if not self._pauses:
            self._left = self._scope.deadline - anyio.current_time()
            self._scope.deadline = math.inf
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self._go()

    def _go(self) -> None:
        if not self._pauses:
            self._scope.deadline = anyio.current_time() + self._left
