"""What log-ins at remote servers have yielded: a file a server in `tokens/`, for its owner alone.

Inside, credentials are kept by issuer (the authorization server), so that none is ever shown to another. The
file is replaced as a whole; who refreshes a token holds its lock, which other gateways of the user respect.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from filelock import AsyncFileLock
from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from mcp_gateway import private

_LOCK_LIMIT = 60.0
"""Seconds to wait for another gateway that is refreshing."""


class Grant(BaseModel):
    """What one issuer has given.

    Attributes:
        client: How the gateway is registered there.
        tokens: The tokens of the last log-in or refresh.
        expires_at: When the access token ends, in seconds since 1970; None where the issuer does not say.
        metadata, resource: What the issuer and the server have published of themselves.
        scope: Scopes that a server asked for after the log-in.
    """

    client: OAuthClientInformationFull | None = None
    tokens: OAuthToken | None = None
    expires_at: float | None = None
    metadata: OAuthMetadata | None = None
    resource: ProtectedResourceMetadata | None = None
    scope: str | None = None


class Saved(BaseModel):
    """The contents of one file: a server's URL, its present issuer, and all grants by issuer."""

    url: str
    issuer: str = ""
    grants: dict[str, Grant] = {}


class TokenFile:
    """The grants of one server; the SDK's `TokenStorage` as well."""

    def __init__(self, home: Path, url: str) -> None:
        """Use the file of `url` in the folder `home`; nothing is read or made yet."""
        host = re.sub(r"[^a-z0-9.-]", "_", (urlsplit(url).hostname or "server").lower())
        self._file = home / "tokens" / f"{host}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.json"
        self._url = url
        self.context: OAuthContext | None = None
        """Of the provider that uses this storage: what it has found out is written with the tokens."""

    def exists(self) -> bool:
        """Whether anybody has logged in."""
        return self._file.exists()

    @property
    def changed(self) -> int:
        """When the file was changed, in ns; 0 where there is none."""
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return 0

    @property
    def saved(self) -> Saved:
        """What stands in the file now; empty where there is none, or none that can be read."""
        try:
            saved = Saved.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return Saved(url=self._url)
        return saved if saved.url == self._url else Saved(url=self._url)

    @property
    def grant(self) -> Grant:
        """The grant of the present issuer."""
        saved = self.saved
        return saved.grants.get(saved.issuer, Grant())

    def update(self, **changes: object) -> None:
        """Changes fields of the present issuer's grant.

        Raises:
            OSError: The file cannot be written.
        """
        saved = self.saved
        issuer = self._issuer() or saved.issuer
        grant = saved.grants.get(issuer, Grant()).model_copy(update=changes)
        self._write(saved.model_copy(update={"issuer": issuer, "grants": {**saved.grants, issuer: grant}}))

    def _issuer(self) -> str:
        metadata = self.context.oauth_metadata if self.context is not None else None
        return str(metadata.issuer) if metadata is not None else ""

    def _write(self, saved: Saved) -> None:
        private.make_folder(self._file.parent)
        descriptor, name = tempfile.mkstemp(dir=self._file.parent, suffix=".new")  # for its owner alone
        new = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(saved.model_dump_json(exclude_none=True, indent=1))
            new.replace(self._file)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise

    def forget(self) -> None:
        """Remove the file."""
        self._file.unlink(missing_ok=True)
        self._file.with_suffix(".lock").unlink(missing_ok=True)

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None]:
        """Keeps other gateways from refreshing the same token.

        Raises:
            filelock.Timeout: Another one holds the lock for too long.
        """
        async with AsyncFileLock(self._file.with_suffix(".lock"), timeout=_LOCK_LIMIT, mode=0o600):
            yield

    async def get_tokens(self) -> OAuthToken | None:
        """See the SDK's `TokenStorage`."""
        return self.grant.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """See the SDK's `TokenStorage`."""
        context = self.context
        found: dict[str, object] = {}
        if context is not None:
            found = {"metadata": context.oauth_metadata, "resource": context.protected_resource_metadata}
            found |= {"expires_at": context.token_expiry_time, "client": context.client_info}
        self.update(tokens=tokens, **found)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """See the SDK's `TokenStorage`."""
        return self.grant.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """See the SDK's `TokenStorage`."""
        self.update(client=client_info)
