"""The user's word on a call, asked for by elicitation: the server, the tool and the arguments in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from mcp_gateway import questions
from mcp_gateway.caller import Caller
from mcp_gateway.errors import ToolDenied
from mcp_gateway.registry import TimeLimit
from mcp_gateway.visible import visible

_METHOD = "elicitation/create"


@dataclass(frozen=True)
class Wanted:
    """A call that needs the user's word.

    Attributes:
        server, tool, arguments: What is to be called, and with what.
        why: Why they are asked, as the beginning of a sentence.
    """

    server: str
    tool: str
    arguments: Mapping[str, Any]
    why: str

    @property
    def question(self) -> dict[str, Any]:
        """The parameters of the request to the user."""
        shown = json.dumps(self.arguments, indent=2, ensure_ascii=False)
        message = visible(f'Call the tool "{self.tool}" of the server "{self.server}"?\n\nArguments:\n{shown}')
        schema: dict[str, Any] = {"type": "object", "properties": {}}
        return {"mode": "form", "message": message, "requestedSchema": schema}

    def refused(self, reason: str) -> ToolDenied:
        """The error for a call that was not agreed to."""
        return ToolDenied(self.server, self.tool, reason)


async def obtain(wanted: Wanted, caller: Caller, limit: TimeLimit) -> None:
    """Returns when the user has agreed; they are asked once for one call, however often it is sent.

    Raises:
        ToolDenied: They have not, or cannot be asked, with the reason.
    """
    params = wanted.question
    asked = params["message"]
    if asked in caller.agreed:
        return
    cannot = questions.obstacle(_METHOD, params, caller.client.capabilities)
    if cannot or caller.ask is None:
        raise wanted.refused(f"{wanted.why}, and {cannot or 'no client is there to be asked'}")
    with anyio.move_on_after(limit.seconds):
        answer = await caller.ask(_METHOD, params)
        if answer.get("action") != "accept":
            raise wanted.refused("the user did not agree to this call; ask them before trying again")
        caller.agreed.add(asked)
        return
    raise wanted.refused(f"{wanted.why}, and did not answer within {limit.seconds:g} s ({limit.source})")
