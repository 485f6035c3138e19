"""A gateway over real children, in memory, for every test that does not need the process itself."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hosting import host
from installed import npm, pypi, sdk_1, suite, uv
from mcp import Client
from support import Entries, Liveness, Running, Start, gateway_module, write_config

from mcp_gateway.catalog import Catalog
from mcp_gateway.config import RegistryFile
from mcp_gateway.pool import Pool
from mcp_gateway.secrets import Redactor
from mcp_gateway.settings import Settings
from mcp_gateway.transport import Connector

__all__ = ["host", "npm", "pypi", "sdk_1", "suite", "uv"]  # fixtures that others have made


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


CALLBACKS = (
    "elicitation_callback",
    "sampling_callback",
    "list_roots_callback",
    "logging_callback",
    "message_handler",
    "cache",
)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """A gateway in memory over these entries, with these settings, as a context."""

    @asynccontextmanager
    async def run(
        entries: Entries, *, mode: str = "auto", environ: Mapping[str, str] | None = None, **more: Any
    ) -> AsyncGenerator[Running]:
        callbacks = {name: more.pop(name) for name in CALLBACKS if name in more}
        settings = more
        config = tmp_path / "servers.json"
        write_config(config, entries)
        redact = Redactor()
        variables = dict(os.environ) if environ is None else environ
        registry = RegistryFile({}, config, [tmp_path / ".env"], lambda: variables)
        chosen = Settings.model_validate({"home": tmp_path, **settings})
        catalog = Catalog(tmp_path / "catalog.sqlite3", redact.known)
        connector = Connector(tmp_path, variables, redact, catalog, shortcuts=chosen.shortcuts)
        made = gateway_module.Gateway(chosen, Pool(registry, connector, chosen, redact, catalog), redact)
        async with made, Client(gateway_module.build(made), mode=mode, **callbacks) as client:
            with anyio.fail_after(60):
                yield Running(client, made, config)

    return run


@pytest.fixture
def liveness() -> Generator[Liveness]:
    port = Liveness()
    yield port
    port.close()
