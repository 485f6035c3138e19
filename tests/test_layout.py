"""The shape of the code: which module may import which, and how big a piece may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import PROJECT

ORDER = [
    "errors", "private", "visible", "secrets", "settings", "registry", "caller", "config", "knowledge", "trust",
    "shortcuts", "words", "signature", "search", "questions", "consent", "database", "catalog", "policy", "stats",
    "arguments", "results", "store", "menu", "logs", "environment", "process", "launcher", "docker", "wire", "link",
    "tokens", "oauth", "remote", "transport", "negotiation", "request", "permissions", "listing", "learner",
    "peer", "conversation", "causes", "pulse", "connection", "member", "pool", "builtin", "relay", "offers", "parking",
    "audience", "door", "host", "address", "web", "browser", "review", "checkup", "cli", "gateway",
]  # fmt: skip
"""Each module imports only modules that stand before it."""

WITH_SDK = {
    "process", "wire", "link", "tokens", "oauth", "remote", "negotiation", "request", "listing", "learner", "peer",
    "conversation", "causes", "pulse", "connection", "relay", "offers", "parking", "audience", "door", "host", "web",
    "browser", "gateway",
}  # fmt: skip
"""The modules that know the SDK."""

MODULES = [*sorted((PROJECT / "mcp_gateway").glob("*.py")), PROJECT / "gateway.py", PROJECT / "servers.py"]


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "mcp_gateway":
            yield from (f"mcp_gateway.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_imports_flow_one_way(file: Path) -> None:
    own = {name.split(".")[1] for name in imports(file) if name.startswith("mcp_gateway.")} & set(ORDER)
    if file.stem in ORDER:
        assert own <= set(ORDER[: ORDER.index(file.stem)])
    else:
        assert not own


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_only_a_few_modules_know_the_sdk(file: Path) -> None:
    knows = any(name.split(".")[0] in {"mcp", "mcp_types"} for name in imports(file))
    assert knows is (file.stem in WITH_SDK)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_pieces_stay_small(file: Path) -> None:
    text = file.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert all((node.end_lineno or 0) - node.lineno < 50 for node in functions)
    assert len(text.splitlines()) <= 450
