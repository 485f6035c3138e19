"""OAuth 2.1 at remote servers, on the SDK's provider; specification 2026-07-28, basic/authorization.

While the gateway serves, nobody is asked: a stored token goes with each request, is refreshed when it has ended
or is refused, and where that does not help, the server's 401 stands and says which command to run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import httpx2
from filelock import Timeout
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthTokenError
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.oauth2 import OAuthContext
from mcp.client.auth.utils import extract_field_from_www_auth, extract_scope_from_www_auth, union_scopes
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.shared.exceptions import MCPDeprecationWarning
from pydantic import AnyUrl

from mcp_gateway import logs
from mcp_gateway.registry import AuthConfig, Entry
from mcp_gateway.secrets import Redactor
from mcp_gateway.tokens import TokenFile

logger = logging.getLogger(logs.LOGGER)

_TIMEOUT = 10.0
"""Seconds for an issuer to answer, while calls wait."""
_AGAIN_SECONDS = 30.0
"""After a refresh that failed, before the next one: calls must not queue for an issuer that hangs."""
_REFUSED = {400, 401}
"""Answers of a token endpoint after which a refresh token is of no more use; RFC 6749, section 5.2."""
_FORBIDDEN = 403
_BASIC = "client_secret_basic"
_UNAUTHORIZED = 401

Flow = AsyncGenerator[httpx2.Request, httpx2.Response]


def auth_for(entry: Entry, home: Path, redact: Redactor) -> httpx2.Auth | None:
    """What adds credentials to the requests to a server, as soon as somebody has logged in; None where nobody can."""
    if entry.auth is not None and entry.auth.type == "client_credentials":
        return machine(entry.url, entry.auth)
    return Stored(entry, TokenFile(home, entry.url), redact) if entry.login else None


def recall(context: OAuthContext, storage: TokenFile) -> None:
    """Take up what an earlier process has found out, which the SDK's provider does not keep."""
    grant = storage.grant
    context.token_expiry_time = grant.expires_at
    context.oauth_metadata = grant.metadata
    context.protected_resource_metadata = grant.resource
    servers = grant.resource.authorization_servers if grant.resource is not None else []
    context.auth_server_url = str(servers[0]) if servers else None


def client_metadata(auth: AuthConfig | None, redirect_uri: str) -> OAuthClientMetadata:
    """What the gateway registers itself as."""
    return OAuthClientMetadata(
        client_name="claude-mcp-gateway",
        redirect_uris=[AnyUrl(redirect_uri)],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        scope=(auth.scope or None) if auth is not None else None,
    )


def published(auth: AuthConfig | None) -> str | None:
    """Where a person has published what the gateway is, in place of a registration."""
    return (auth.client_metadata_url or None) if auth is not None else None


def registered(auth: AuthConfig | None, redirect_uri: str) -> OAuthClientInformationFull | None:
    """The client that a person has registered and named in the entry."""
    if auth is None or not auth.client_id:
        return None
    return OAuthClientInformationFull(
        client_id=auth.client_id,
        client_secret=auth.client_secret or None,
        redirect_uris=[AnyUrl(redirect_uri)],
        token_endpoint_auth_method=_BASIC if auth.client_secret else "none",
        issuer=auth.issuer or None,
    )


class Stored(OAuthClientProvider):
    """Uses and refreshes the tokens of a log-in, and never asks anybody."""

    def __init__(self, entry: Entry, storage: TokenFile, redact: Redactor | None = None) -> None:
        """Nothing is read before the first request; `redact` learns each token."""
        metadata = client_metadata(entry.auth, "http://127.0.0.1/callback")
        super().__init__(entry.url, metadata, storage, client_metadata_url=published(entry.auth))
        self._storage = storage
        self._redact = redact or Redactor()
        self._loaded = 0
        self._failed_at = -_AGAIN_SECONDS
        storage.context = self.context

    async def _auth_flow(self, request: httpx2.Request) -> Flow:
        async with self.context.lock:
            self._load()
            if not self.context.is_token_valid():
                await self._refreshed()
            sent = self._attach(request)
        response = yield request
        if response.status_code == _UNAUTHORIZED and sent:
            async with self.context.lock:
                refreshed = await self._refreshed(refused=sent)
                self._attach(request)
            if refreshed:
                yield request
        elif response.status_code == _FORBIDDEN:
            self._note_scope(response)

    def _load(self) -> None:
        """Take in what the file says now, if it has changed: a person may have logged in meanwhile."""
        changed = self._storage.changed
        if changed == self._loaded:
            return
        self._loaded = changed
        grant = self._storage.grant
        self.context.current_tokens, self.context.client_info = grant.tokens, grant.client
        recall(self.context, self._storage)

    def _attach(self, request: httpx2.Request) -> str:
        if not self.context.is_token_valid() or self.context.current_tokens is None:
            return ""
        self._add_auth_header(request)
        tokens = self.context.current_tokens
        if not self._redact.knows(tokens.access_token):
            known = {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token or ""}
            self._redact.learn((value, name) for name, value in known.items())
        return tokens.access_token

    async def _refreshed(self, refused: str = "") -> bool:
        """Whether there is another token than the refused one now; one gateway alone asks for it."""
        if not self.context.can_refresh_token() or anyio.current_time() - self._failed_at < _AGAIN_SECONDS:
            return False
        self._failed_at = anyio.current_time()
        try:
            async with self._storage.locked():
                self._load()  # another gateway may have been quicker
                tokens = self.context.current_tokens
                known = tokens is not None and self.context.is_token_valid() and tokens.access_token != refused
                done = known or (tokens is not None and await self._refresh())
        except (Timeout, TimeoutError, OSError, httpx2.HTTPError, OAuthFlowError, OAuthTokenError) as exc:
            logger.warning("the token for %s cannot be refreshed: %s", self.context.server_url, exc or type(exc))
            return False
        if done:
            self._failed_at = -_AGAIN_SECONDS
        return done

    async def _refresh(self) -> bool:
        with anyio.fail_after(_TIMEOUT):
            async with httpx2.AsyncClient(timeout=_TIMEOUT) as client:
                response = await client.send(await self._refresh_token())
        if response.status_code in _REFUSED:
            self._storage.update(tokens=None)
        return await self._handle_refresh_response(response)

    def _note_scope(self, response: httpx2.Response) -> None:
        """Keep what the next log-in has to ask for."""
        if extract_field_from_www_auth(response, "error") == "insufficient_scope":
            tokens = self.context.current_tokens
            granted = tokens.scope if tokens is not None else None
            self._storage.update(scope=union_scopes(granted, extract_scope_from_www_auth(response)))


class Login(OAuthClientProvider):
    """Logs a person in anew; what was found out and registered before is used again."""

    def __init__(self, entry: Entry, storage: TokenFile, redirect_uri: str, **handlers: Any) -> None:
        """Ask by the handlers `redirect_handler` and `callback_handler`, see the SDK's provider."""
        own = published(entry.auth)
        metadata = client_metadata(entry.auth, redirect_uri)
        super().__init__(entry.url, metadata, storage, client_metadata_url=own, **handlers)
        self._storage = storage
        self._redirect_uri = redirect_uri
        self._auth = entry.auth
        storage.context = self.context
        self.done = False

    async def _initialize(self) -> None:
        known = self._storage.grant.client
        fits = known is not None and AnyUrl(self._redirect_uri) in (known.redirect_uris or [])
        self.context.client_info = registered(self._auth, self._redirect_uri) or (known if fits else None)
        self._initialized = True

    async def _perform_authorization(self) -> httpx2.Request:
        own = self._auth.scope if self._auth is not None else ""
        wanted = union_scopes(own or self.context.client_metadata.scope, self._storage.grant.scope)
        self.context.client_metadata.scope = wanted
        self._choose_method()
        request = await super()._perform_authorization()
        self.done = True
        return request

    def _choose_method(self) -> None:
        """How a client with a secret shows it: as the issuer can read it."""
        metadata, client = self.context.oauth_metadata, self.context.client_info
        offered = (metadata.token_endpoint_auth_methods_supported if metadata is not None else None) or [_BASIC]
        if client is not None and client.token_endpoint_auth_method == _BASIC and _BASIC not in offered:
            client.token_endpoint_auth_method = offered[0]


class Bounded(OAuthClientProvider):
    """A provider whose own requests end in time, though an answer of the server itself may take long."""

    async def async_auth_flow(self, request: httpx2.Request) -> Flow:
        """See `httpx2.Auth`."""
        flow = super().async_auth_flow(request)
        try:
            outgoing = await anext(flow)
            while True:
                if outgoing is not request:
                    outgoing.extensions = {**outgoing.extensions, "timeout": httpx2.Timeout(_TIMEOUT).as_dict()}
                response = yield outgoing
                outgoing = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()


class BySecret(Bounded, ClientCredentialsOAuthProvider):
    """A program's log-in with a secret."""


class ByKey(Bounded, PrivateKeyJWTOAuthProvider):
    """A program's log-in with a key."""


class Memory:
    """The SDK's `TokenStorage` for a program, which gets a token whenever it needs one."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """See `TokenStorage`."""
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """See `TokenStorage`."""
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """See `TokenStorage`; the provider is given its client."""
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """See `TokenStorage`."""


def machine(url: str, auth: AuthConfig) -> httpx2.Auth:
    """Logs a program in, with its own id and secret or key; RFC 6749, section 4.4."""
    issuer, storage = auth.issuer or None, Memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)  # an issuer is asked for in docs, not demanded
        if auth.private_key:
            signed = SignedJWTParameters(
                issuer=auth.client_id,
                subject=auth.client_id,
                signing_key=auth.private_key,
                signing_algorithm=auth.algorithm,
            )
            return ByKey(url, storage, auth.client_id, signed.create_assertion_provider(), auth.scope or None, issuer)
        return BySecret(url, storage, auth.client_id, auth.client_secret, scope=auth.scope or None, issuer=issuer)
