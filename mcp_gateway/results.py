"""Results as they go to the client: wire objects, not models, so that nothing in them is lost.

A result is what `tools/call` answers: `content`, `structuredContent`, `isError`, `_meta`, and whatever
a later revision adds. What a child sent is passed on as the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mcp_gateway.errors import GatewayError

Result = dict[str, Any]


def text_result(text: str, *, is_error: bool = False) -> Result:
    """A text of the gateway's own."""
    result: Result = {"content": [{"type": "text", "text": text}]}
    return {**result, "isError": True} if is_error else result


def failure(exc: GatewayError, redact: Callable[[str], str]) -> Result:
    """The one place where the tree of errors becomes a result."""
    return text_result(redact(str(exc)), is_error=True)


def refused(result: Result) -> bool:
    """Whether the child says that the call failed."""
    return result.get("isError") is True


def with_note(result: Result, note: str) -> Result:
    """The same result with a text of the gateway's behind what the child said."""
    content = result.get("content")
    blocks = cast("list[Any]", content) if isinstance(content, list) else []
    return {**result, "content": [*blocks, {"type": "text", "text": note}]}
