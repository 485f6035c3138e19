"""A server as a peer: what it is told of the client, and what it says and asks by itself.

Stands between the SDK's session and its dispatcher. The session would make models of one revision out of
a question or a notice; here both are passed on as they came. What is declared to the server is what the
client behind the gateway can do, and no more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.abc import TaskStatus
from mcp.shared.dispatcher import CallOptions, DispatchContext, OnNotify, OnNotifyIntercept, OnRequest
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from mcp_gateway.caller import Ask, Json, as_dict
from mcp_gateway.questions import FEATURES

Heard = Callable[[str, Json], Awaitable[None]]
"""Receives a server's notifications: method, parameters."""


class Peer:
    """A dispatcher (the SDK's interface) that declares what the client can do and hands on what the server asks."""

    def __init__(self, dispatcher: JSONRPCDispatcher[Any], capabilities: Json, ask: Ask, heard: Heard) -> None:
        """Talk over `dispatcher`; `ask` answers a server's questions."""
        self._dispatcher = dispatcher
        self._capabilities = dict(capabilities)
        self._ask = ask
        self._heard = heard

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """See the SDK's `Dispatcher.run`."""

        async def asked(
            context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
        ) -> dict[str, Any]:
            if method in FEATURES:
                return await self._ask(method, params or {})
            return await on_request(context, method, params)

        async def notified(
            context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
        ) -> None:
            await self._heard(method, params or {})
            await on_notify(context, method, params)

        await self._dispatcher.run(asked, notified, on_notify_intercept, task_status=task_status)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """See the SDK's `Outbound.send_raw_request`."""
        return await self._dispatcher.send_raw_request(method, self._declared(method, params), opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """See the SDK's `Outbound.notify`."""
        await self._dispatcher.notify(method, params, opts)

    def _declared(self, method: str, params: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if params is None:
            return None
        if method == "initialize":
            return {**params, "capabilities": self._capabilities}
        meta = as_dict(params.get("_meta"))
        if CLIENT_CAPABILITIES_META_KEY in meta:
            return {**params, "_meta": {**meta, CLIENT_CAPABILITIES_META_KEY: self._capabilities}}
        return params
