"""Who hears of changes: clients that are connected, and streams that 2026-07-28 clients listen on.

A notice that is not yet delivered is not kept twice, so a client that reads nothing costs no more than the
resources that it has subscribed to. A subscription keeps its server running and is renewed with every new run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import RequestId

from mcp_gateway import logs
from mcp_gateway.caller import Caller, Client, Json, Tell, as_dict
from mcp_gateway.errors import BadParameters, GatewayError
from mcp_gateway.pool import Pool

logger = logging.getLogger(logs.LOGGER)

_RENEW_SECONDS = 5.0
"""Between the end of a server's run and the next try to subscribe; twice as long after each that did not last."""
_LONGEST_PAUSE = 300.0
_LASTING = 60.0
"""Seconds after which a subscription counts as one that works."""
_SUBSCRIBE_LIMIT = 15.0
"""Seconds for a server to take a subscription, of several that a client asks for at once."""
_MOST_SUBSCRIPTIONS = 1_000
"""Of one listener."""

UPDATED = "notifications/resources/updated"

Owner = Callable[[str], str]
"""The server that owns a resource, by its URI."""


@dataclass(eq=False)
class Listener:
    """One place that notices go to.

    Attributes:
        features: `prompts` or `resources`, whose lists it wants to hear of.
        uris: Resources that it has subscribed to, each with what ends the subscription.
    """

    client: Client
    tell: Tell
    features: frozenset[str]
    meta: Json = field(default_factory=dict[str, Any])
    uris: dict[str, anyio.CancelScope] = field(default_factory=dict[str, anyio.CancelScope])
    _pending: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    _wake: anyio.Event = field(default_factory=anyio.Event)

    def note(self, method: str, uri: str = "") -> None:
        """Something to be told; what waits already is told once."""
        self._pending[method, uri] = None
        self._wake.set()

    def wants(self, uri: str) -> bool:
        """Whether it has subscribed to a resource, or to one that contains it."""
        return any(uri == known or uri.startswith(f"{known.rstrip('/')}/") for known in self.uris)

    async def pump(self) -> None:
        """Tells, one after the other, for as long as it is not cancelled."""
        while True:
            while self._pending:
                method, uri = next(iter(self._pending))
                del self._pending[method, uri]
                params: dict[str, Any] = {"uri": uri} if uri else {}
                await self.tell(method, {**params, "_meta": self.meta} if self.meta else params)
            self._wake = anyio.Event()
            await self._wake.wait()

    def close(self) -> None:
        """End its subscriptions."""
        for scope in self.uris.values():
            scope.cancel()


class Audience:
    """All listeners of one gateway."""

    def __init__(self, pool: Pool, owner: Owner) -> None:
        """Hear of changes from `pool`."""
        self._pool = pool
        self._owner = owner
        self._listeners: list[Listener] = []
        self._of_client: dict[Client, tuple[Listener, anyio.CancelScope]] = {}
        self._tasks: TaskGroup | None = None
        pool.on_change, pool.on_update = self._changed, self._updated

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)

    def _changed(self, feature: str) -> None:
        for listener in self._listeners:
            if feature in listener.features:
                listener.note(f"notifications/{feature}/list_changed")

    def _updated(self, client: Client, uri: str) -> None:
        for listener in self._listeners:
            if client.key in {"", listener.client.key} and listener.wants(uri):
                listener.note(UPDATED, uri)

    def join(self, client: Client) -> Listener:
        """The listener of a client of the handshake era, which hears of all lists."""
        if client not in self._of_client:
            listener = Listener(client, client.tell or _deaf, frozenset({"prompts", "resources"}))
            scope = anyio.CancelScope()
            self._of_client[client] = listener, scope
            self._listeners.append(listener)
            if self._tasks is not None:
                self._tasks.start_soon(_within, scope, listener.pump)
        return self._of_client[client][0]

    def leave(self, client: Client) -> None:
        """A client is gone."""
        if client in self._of_client:
            listener, scope = self._of_client.pop(client)
            scope.cancel()
            self._listeners.remove(listener)
            listener.close()

    async def listen(self, caller: Caller, params: Json, request_id: RequestId | None) -> dict[str, Any]:
        """Serves one `subscriptions/listen` of a 2026-07-28 client, until it gives up.

        What is acknowledged first is what it will hear of.
        """
        wanted = as_dict(params.get("notifications"))
        features = frozenset(name for name in ("prompts", "resources") if wanted.get(f"{name}ListChanged") is True)
        meta = {SUBSCRIPTION_ID_META_KEY: request_id}
        listener = Listener(caller.client, caller.tell or _deaf, features, meta)
        listed: object = wanted.get("resourceSubscriptions")
        uris = [str(uri) for uri in cast("list[object]", listed)] if isinstance(listed, list) else []
        self._listeners.append(listener)
        try:
            async with anyio.create_task_group() as tasks:
                for uri in uris:
                    tasks.start_soon(self._try, listener, uri, caller)
            honored: dict[str, Any] = {f"{name}ListChanged": True for name in sorted(features)}
            if listener.uris:
                honored["resourceSubscriptions"] = [uri for uri in uris if uri in listener.uris]
            acknowledged = {"notifications": honored, "_meta": meta}
            await listener.tell("notifications/subscriptions/acknowledged", acknowledged)
            await listener.pump()
        finally:
            self._listeners.remove(listener)
            listener.close()
        raise AssertionError("a pump runs until it is cancelled")

    async def _try(self, listener: Listener, uri: str, caller: Caller) -> None:
        """Subscribe in time or not at all: one resource must not keep a client from hearing of the others."""
        try:
            with anyio.move_on_after(_SUBSCRIBE_LIMIT):
                await self.subscribe(listener, uri, caller)
        except GatewayError as exc:
            logger.info("no news of %s: %s", uri, exc)

    async def subscribe(self, listener: Listener, uri: str, caller: Caller) -> None:
        """Have a resource's server tell of its changes; the server is started if need be.

        Raises:
            GatewayError: It does not start, or refuses.
        """
        if uri in listener.uris or self._tasks is None:
            return
        if len(listener.uris) >= _MOST_SUBSCRIPTIONS:
            raise BadParameters(
                "resources/subscribe", f"a client has at most {_MOST_SUBSCRIPTIONS} subscriptions", "it is"
            )
        server, scope = self._owner(uri), anyio.CancelScope()
        listener.uris[uri] = scope
        try:
            keep = partial(self._keep, listener, server, uri)
            failed: GatewayError | None = await self._tasks.start(_started_within, scope, keep, caller)
        except BaseException:
            self.unsubscribe(listener, uri)
            raise
        if failed is not None:
            self.unsubscribe(listener, uri)
            raise failed

    @staticmethod
    def unsubscribe(listener: Listener, uri: str) -> None:
        """The client does not want to hear of it any more."""
        scope = listener.uris.pop(uri, None)
        if scope is not None:
            scope.cancel()

    async def _keep(
        self, listener: Listener, server: str, uri: str, caller: Caller, status: TaskStatus[GatewayError | None]
    ) -> None:
        """The task of one subscription."""
        began, pause = False, _RENEW_SECONDS
        while True:
            since = anyio.current_time()
            try:
                run = await self._pool.hold(server, caller)
                with run.used():
                    async with run.subscribed(uri) as lasts:
                        if began:  # what has changed in between was not heard
                            listener.note(UPDATED, uri)
                        else:
                            began = True
                            status.started(None)
                        await lasts()
            except GatewayError as exc:
                logger.info("%s: no news of %s: %s", server, uri, exc)
                if not began:
                    status.started(exc)
                    return
            except Exception:
                logger.exception("%s: no news of %s", server, uri)
                if not began:
                    raise
            caller = Caller(listener.client)
            await anyio.sleep(pause)
            lasted = anyio.current_time() - since >= _LASTING + pause
            pause = _RENEW_SECONDS if lasted else min(2 * pause, _LONGEST_PAUSE)


async def _within(scope: anyio.CancelScope, work: Callable[[], Any]) -> None:
    with scope:
        await work()


async def _started_within(
    scope: anyio.CancelScope,
    work: Callable[..., Any],
    caller: Caller,
    *,
    task_status: TaskStatus[GatewayError | None],
) -> None:
    with scope:
        await work(caller, task_status)
    with suppress(RuntimeError):  # it was told already, unless the client took the subscription back before
        task_status.started(None)


async def _deaf(_: str, __: Json) -> None:
    """Nobody hears."""
