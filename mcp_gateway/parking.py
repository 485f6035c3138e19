"""Calls of 2026-07-28 clients that wait while the client is asked something.

A server of the handshake era asks in the middle of a call, over its own request. A modern client takes no
requests: it is answered with the question, as an `InputRequiredResult`, while the server's call goes on in a
task of its own, parked. The client's retry brings the answers and takes up the call where it was.

Source: MCP specification 2026-07-28, multi round-trip requests.
"""

from __future__ import annotations

import itertools
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST

from mcp_gateway.caller import Caller, CallerGone, Client, Json, as_dict
from mcp_gateway.errors import NotWaiting

_MOST_OF_ONE = 32
"""Parked calls of one client; a question beyond them is refused."""

Work = Callable[[Caller], Awaitable[dict[str, Any]]]


@dataclass
class Question:
    """Something that a server wants to know, and the answer when it has come."""

    method: str
    params: Json
    answered: anyio.Event = field(default_factory=anyio.Event)
    answer: dict[str, Any] | None = None


class Parked:
    """One call that may have to wait for its client."""

    def __init__(self, caller: Caller, prefix: str, may_wait: Callable[[], bool]) -> None:
        """Begin with the request that made the call; its state begins with `prefix`."""
        self.state = prefix + secrets.token_urlsafe(24)
        self.client = caller.client
        self.scope = anyio.CancelScope()
        self.attended = True
        self.fetched = anyio.Event()
        self._caller = caller
        self._may_wait = may_wait
        self._questions: dict[str, Question] = {}
        self._keys = (f"question-{number}" for number in itertools.count(1))
        self._wake = anyio.Event()
        self._result: dict[str, Any] | None = None
        self._error: Exception | None = None

    @property
    def asks(self) -> bool:
        """Whether a question of it is open."""
        return bool(self._questions)

    def caller(self) -> Caller:
        """The caller as the work sees it: it stays the same while requests of the client come and go."""
        return replace(self._caller, ask=self.ask, progress=self.progress, tell=self.tell)

    async def ask(self, method: str, params: Json) -> dict[str, Any]:
        """Puts a question to the client, and waits for as long as the asker does."""
        if not self._may_wait():
            raise MCPError(INVALID_REQUEST, "too many calls of this client wait for its answers already")
        key, question = next(self._keys), Question(method, params)
        self._questions[key] = question
        self._wake.set()
        try:
            await question.answered.wait()
        finally:
            self._questions.pop(key, None)
        if question.answer is None:
            raise CallerGone
        return question.answer

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Goes to the request that is under way, if there is one."""
        if self.attended and self._caller.progress is not None:
            await self._caller.progress(progress, total, message)

    async def tell(self, method: str, params: Json) -> None:
        """Goes to the request that is under way, if there is one."""
        if self.attended and self._caller.tell is not None:
            await self._caller.tell(method, params)

    def attend(self, caller: Caller) -> None:
        """A request of the client takes the call up again, with its answers."""
        self._caller = caller
        self.attended = True
        self.scope.deadline = math.inf
        answers = as_dict(caller.answers.get("inputResponses"))
        for key, question in self._questions.items():
            if isinstance(answers.get(key), dict):
                question.answer = answers[key]
                question.answered.set()

    def unattend(self, seconds: float) -> None:
        """The request of the client is over; it has so long to come back."""
        self.attended = False
        self.scope.deadline = anyio.current_time() + seconds
        if self._error is not None or self._result is not None:
            self.fetched.set()

    def settle(self, outcome: dict[str, Any] | Exception) -> None:
        """The work is done."""
        if self._error is None and self._result is None:
            if isinstance(outcome, Exception):
                self._error = outcome
            else:
                self._result = outcome
        self._wake.set()
        for question in self._questions.values():
            question.answered.set()

    async def outcome(self) -> dict[str, Any]:
        """The result, or the questions that have to be answered first."""
        while True:
            if self._error is not None:
                raise self._error
            if self._result is not None:
                return self._result
            open_ones = {key: one for key, one in self._questions.items() if not one.answered.is_set()}
            if open_ones:
                return self._input_required(open_ones)
            self._wake = anyio.Event()
            await self._wake.wait()

    def _input_required(self, open_ones: Mapping[str, Question]) -> dict[str, Any]:
        requests = {key: {"method": one.method, "params": dict(one.params)} for key, one in open_ones.items()}
        return {"resultType": "input_required", "inputRequests": requests, "requestState": self.state}


class Parking:
    """All calls that may have to wait; each has a task of its own, which ends with the gateway."""

    def __init__(self, seconds: float) -> None:
        """Keep a call for as long as its client takes, up to `seconds` between two requests of it."""
        self._seconds = seconds
        self._prefix = f"mcp-gateway/parked/{secrets.token_urlsafe(6)}/"
        """Tells states of this gateway from those of others, which one may stand behind."""
        self._parked: dict[str, Parked] = {}
        self._tasks: TaskGroup | None = None

    def __len__(self) -> int:
        """How many calls there are that may have to wait."""
        return len(self._parked)

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)

    async def run(self, caller: Caller, work: Work) -> dict[str, Any]:
        """What `work` comes to, or what it asks; a caller that brings answers takes up what it had begun.

        Raises:
            NotWaiting: What it wants to take up is gone.
        """
        state = caller.answers.get("requestState")
        if isinstance(state, str) and state.startswith(self._prefix):
            return await self._wait(self._take_up(state, caller))
        if not (caller.client.modern and caller.client.capabilities) or self._tasks is None:
            return await work(caller)
        parked = Parked(caller, self._prefix, lambda: self._waiting(caller.client) < _MOST_OF_ONE)
        self._parked[parked.state] = parked
        self._tasks.start_soon(self._own, parked, work)
        return await self._wait(parked)

    def leave(self, client: Client) -> None:
        """A client is gone, and what it asked for with it."""
        for parked in self._parked.values():
            if parked.client.key == client.key:
                parked.scope.cancel()

    def _waiting(self, client: Client) -> int:
        return sum(one.asks for one in self._parked.values() if one.client.key == client.key)

    def _take_up(self, state: str, caller: Caller) -> Parked:
        parked = self._parked.get(state)
        if parked is None or parked.client.key != caller.client.key or parked.attended:
            raise NotWaiting(self._seconds)
        parked.attend(caller)
        return parked

    async def _wait(self, parked: Parked) -> dict[str, Any]:
        """A client that gives up its request gives up the call."""
        try:
            outcome = await parked.outcome()
        except anyio.get_cancelled_exc_class():
            parked.scope.cancel()
            raise
        finally:
            parked.unattend(self._seconds)
        return outcome

    async def _own(self, parked: Parked, work: Work) -> None:
        """The task of one call."""
        try:
            with parked.scope:
                try:
                    parked.settle(await work(parked.caller()))
                except Exception as exc:  # noqa: BLE001 - it is raised where the client waits for it
                    parked.settle(exc)
                await parked.fetched.wait()
        finally:
            parked.settle(NotWaiting(self._seconds))
            del self._parked[parked.state]
