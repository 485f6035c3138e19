"""What a server may ask of a client during a call, and whether that client can answer.

Source: MCP specification 2025-11-25 and 2026-07-28, client/elicitation, client/sampling, client/roots.
"""

from __future__ import annotations

import secrets
from typing import Any

from mcp_gateway.caller import Json, as_dict

FEATURES = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
"""The feature that a client must have declared, by method."""

ROOTS_LIMIT = 30.0
"""Seconds that a client may take to list its roots, which asks nobody; a person gets longer."""


def obstacle(method: str, params: Json, capabilities: Json) -> str:
    """Why a client with these capabilities cannot be asked; empty if it can."""
    feature = FEATURES[method]
    if feature not in capabilities:
        return f"the client of this gateway does not support {feature}"
    offered = as_dict(capabilities[feature])
    if feature == "elicitation":
        mode = str(params.get("mode") or "form")
        if mode not in (offered or {"form": {}}):
            return f"the client of this gateway does not support elicitation in {mode} mode"
    if feature == "sampling" and (params.get("tools") or params.get("toolChoice")) and "tools" not in offered:
        return "the client of this gateway does not support tools in sampling"
    return ""


def requests_of(result: Json) -> dict[str, tuple[str, dict[str, Any]]]:
    """The questions in an `InputRequiredResult`, by key: method and parameters.

    Raises:
        ValueError: It holds something else, named at the end of a sentence.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for key, request in as_dict(result.get("inputRequests")).items():
        method, params = as_dict(request).get("method"), as_dict(request).get("params")
        if method not in FEATURES:
            raise ValueError(f'"{method}" is nothing that a client can be asked')
        found[key] = (str(method), as_dict(params))
    return found


def for_earlier(params: Json) -> Json:
    """The parameters of a modern question as clients of the handshake era expect them: a page has an id there."""
    if params.get("mode") == "url" and "elicitationId" not in params:
        return {**params, "elicitationId": secrets.token_hex(16)}
    return params


def limit(method: str, seconds: float) -> float:
    """How long an answer may take: a person gets `seconds`, a list of roots less."""
    return min(seconds, ROOTS_LIMIT) if method == "roots/list" else seconds
