"""What a model pays: `.venv/bin/python bench/tokens.py`.

Installs real servers from npm and PyPI (each once, below `.venv/bench`), lets the gateway learn their tools, and
counts with a tokenizer: the definitions directly, and what the gateway shows instead. Nothing recorded is kept.
To count 40 servers and 1,000 tools, the servers are known under further names as well.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
from tokenizers import Tokenizer

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
import gateway as gateway_module
from mcp_gateway.caller import Caller
from mcp_gateway.config import RegistryFile
from mcp_gateway.pool import Pool
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings
from mcp_gateway.transport import Connector

KEPT = PROJECT / ".venv" / "bench" / "servers"
SERVERS_WANTED, TOOLS_WANTED = 40, 1_000

NPM: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "everything": ("@modelcontextprotocol/server-everything", [], {}),
    "filesystem": ("@modelcontextprotocol/server-filesystem", ["/tmp"], {}),  # noqa: S108 - only listed
    "memory": ("@modelcontextprotocol/server-memory", [], {}),
    "sequential-thinking": ("@modelcontextprotocol/server-sequential-thinking", [], {}),
    "github": ("@modelcontextprotocol/server-github", [], {"GITHUB_PERSONAL_ACCESS_TOKEN": "none"}),
    "context7": ("@upstash/context7-mcp", [], {}),
    "notion": ("@notionhq/notion-mcp-server", [], {"NOTION_TOKEN": "none"}),
    "tavily": ("tavily-mcp", [], {"TAVILY_API_KEY": "none"}),
    "firecrawl": ("firecrawl-mcp", [], {"FIRECRAWL_API_KEY": "none"}),
    "playwright": ("@playwright/mcp", [], {}),
    "dataforseo": ("dataforseo-mcp-server", [], {"DATAFORSEO_USERNAME": "none", "DATAFORSEO_PASSWORD": "none"}),
    "mongodb": ("mongodb-mcp-server", [], {}),
    "postman": ("@postman/postman-mcp-server", ["--full"], {"POSTMAN_API_KEY": "none"}),
    "salesforce": ("@salesforce/mcp", ["--orgs", "DEFAULT_TARGET_ORG", "--toolsets", "all"], {}),
}
PYPI: dict[str, tuple[str, str, dict[str, str]]] = {
    "git": ("mcp-server-git", "mcp-server-git", {}),
    "time": ("mcp-server-time", "mcp-server-time", {}),
    "fetch": ("mcp-server-fetch", "mcp-server-fetch", {}),
    "google-analytics": ("analytics-mcp", "analytics-mcp", {}),
    "google-workspace": (
        "workspace-mcp",
        "workspace-mcp",
        {"GOOGLE_OAUTH_CLIENT_ID": "none", "GOOGLE_OAUTH_CLIENT_SECRET": "none"},
    ),
}
QUERIES = (
    "create an issue in a repository",
    "read a file",
    "what time is it in Tokyo",
    "search the web for news",
    "take a screenshot of a page",
    "query the database",
    "send an email",
    "which branch am I on",
)

_TOKENIZER = Tokenizer.from_file(str(files("anthropic") / "tokenizer.json"))


def tokens(text: str) -> int:
    """Tokens of a text."""
    return len(_TOKENIZER.encode(text).ids)


def entries() -> dict[str, dict[str, Any]]:
    """An entry for each server that can be installed here."""
    made: dict[str, dict[str, Any]] = {}
    for name, (package, words, env) in NPM.items():
        folder = KEPT / name
        if not (folder / "node_modules" / ".bin").exists():
            folder.mkdir(parents=True, exist_ok=True)
            npm = [shutil.which("npm") or "npm", "install", "--prefix", ".", "--no-audit", "--no-fund", package]
            subprocess.run(npm, cwd=folder, check=False, capture_output=True)
        program = _program(folder, package)
        if program is not None:
            made[name] = {"command": str(program), "args": words, "env": env}
    for name, (package, command, env) in PYPI.items():
        folder = KEPT / name
        scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        if not (scripts / command).exists():
            venv.create(folder, with_pip=True)
            pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet", package]
            subprocess.run(pip, check=False, capture_output=True)
        if (scripts / command).exists():
            made[name] = {"command": str(scripts / command), "env": env}
    return made


def _program(folder: Path, package: str) -> Path | None:
    manifest = folder / "node_modules" / package / "package.json"
    if not manifest.exists():
        return None
    bins: str | dict[str, str] = json.loads(manifest.read_text(encoding="utf-8")).get("bin", {})
    name = package.rsplit("/", 1)[-1] if isinstance(bins, str) else next(iter(bins), "")
    return folder / "node_modules" / ".bin" / name


def definitions(tools: Iterable[Mapping[str, Any]]) -> int:
    """What a client hands to its model of tools that it knows directly."""
    keys = {"name": "name", "description": "description", "inputSchema": "input_schema"}
    return tokens(json.dumps([{new: tool.get(old) for old, new in keys.items()} for tool in tools], ensure_ascii=False))


async def ask(gateway: gateway_module.Gateway, tool: str, **parameters: Any) -> int:
    """Tokens of one answer."""
    result = await gateway.ask(tool, parameters, Caller())
    return tokens("\n".join(block["text"] for block in result["content"]))


async def learn(gateway: gateway_module.Gateway, names: Iterable[str]) -> dict[str, int]:
    """Start each server once; the direct cost of each that answered."""
    costs: dict[str, int] = {}
    for name in names:
        try:
            knowledge = await gateway.pool.knowledge(name, Caller())
        except Exception as exc:  # noqa: BLE001 - a server that cannot be started here is left out
            print(f"{name}: {exc!s:.150}", file=sys.stderr)
            continue
        if knowledge.tools:
            costs[name] = definitions(knowledge.tools)
        gateway.pool.restart(name)
    return costs


def multiply(gateway: gateway_module.Gateway, names: list[str]) -> dict[str, str]:
    """Further names for known servers, until there are enough; the name each one copies."""
    registry, catalog = gateway.pool.registry.entries, gateway.pool.catalog
    copies: dict[str, str] = {}
    tools = sum(len((catalog.recall(registry[name]) or gateway_module.Knowledge()).tools) for name in names)
    turn = 0
    while len(names) + len(copies) < SERVERS_WANTED or tools < TOOLS_WANTED:
        name = names[turn % len(names)]
        copies[f"{name}-{turn // len(names) + 2}"] = name
        tools += len((catalog.recall(registry[name]) or gateway_module.Knowledge()).tools)
        turn += 1
    return copies


def row(what: str, values: list[int]) -> str:
    """A line of the table."""
    return f"| {what} | {statistics.median(values):,.0f} | {max(values):,} |"


async def measure(home: Path) -> str:
    """Everything, as a table in Markdown."""
    written = entries()
    gateway = make(home, written)
    async with gateway.pool:
        costs = await learn(gateway, written)
        names = list(costs)
        copies = multiply(gateway, names)
        make_room = {name: written[original] for name, original in copies.items()}
        known = {name: gateway.pool.catalog.recall(gateway.pool.registry.entries[name]) for name in names}
        write(home, {name: written[name] for name in names} | make_room)
        for name, entry in gateway.pool.registry.entries.items():
            knowledge = known.get(copies.get(name, name))
            if knowledge is not None:
                gateway.pool.catalog.remember(entry, knowledge)
        return await report(gateway, costs, copies)


async def report(gateway: gateway_module.Gateway, costs: dict[str, int], copies: dict[str, str]) -> str:
    """Count what the gateway shows."""
    every = [*costs, *copies]
    direct = sum(costs[copies.get(name, name)] for name in every)
    registry, catalog = gateway.pool.registry.entries, gateway.pool.catalog
    tools = sum(len((catalog.recall(registry[name]) or gateway_module.Knowledge()).tools) for name in every)
    start = tokens(gateway.definitions())
    listed = await ask(gateway, "list_available_mcps")
    searches = [await ask(gateway, "list_available_mcps", query=query) for query in QUERIES]
    loads = [await ask(gateway, "load_mcp_tools", mcp_name=name) for name in costs]
    call = tokens(json.dumps({"mcp_name": "github", "tool_name": "search_repositories", "arguments": {"query": "mcp"}}))
    tasks = [listed + load + call for load in loads]
    found = [search + load + call for search in searches for load in loads]
    known = f"{len(costs)} real servers ({sum(costs.values()):,} tokens directly), known under {len(every)} names"
    lines = [
        f"{known}: {tools:,} tools\n",
        "| tokens | median | maximum |",
        "|---|---:|---:|",
        row("directly, at the start of every conversation", [direct]),
        row("the gateway, at the start of every conversation", [start]),
        row("the list of servers", [listed]),
        row("a search", searches),
        row("a load", loads),
        row("a whole task: list, load, call", tasks),
        row("a whole task: search, load, call", found),
    ]
    return "\n".join(lines)


def write(home: Path, servers: Mapping[str, Any]) -> None:
    """The servers file."""
    (home / "servers.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")


def make(home: Path, servers: Mapping[str, Any]) -> gateway_module.Gateway:
    """A gateway with these servers and no others."""
    write(home, servers)
    redact = Redactor()
    registry = RegistryFile({}, home / "servers.json", [], dict)
    settings = Settings(home=home, init_timeout=60)
    return gateway_module.Gateway(
        settings, Pool(registry, Connector(home, os.environ, redact), settings, redact), redact
    )


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        print(anyio.run(measure, Path(folder)))


if __name__ == "__main__":
    main()
