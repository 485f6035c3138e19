"""The user's word on a call, asked for by elicitation: the server, the tool and the arguments in full."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from mcp_gateway import questions
from mcp_gateway.caller import Caller
from mcp_gateway.errors import ToolDenied
from mcp_gateway.registry import TimeLimit

_METHOD = "elicitation/create"
_PLAIN = {"\n"}
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Categories of characters that nobody sees: controls, formats, private ones, halves of pairs, separators."""


def visible(text: str) -> str:
    """The text with an escape in place of each character that is not seen, except the ends of lines."""
    hidden = {char for char in text if char not in _PLAIN and unicodedata.category(char) in _HIDDEN}
    for char in hidden:
        text = text.replace(char, f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}")  # noqa: PLR2004 - the last of four digits
    return text


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
