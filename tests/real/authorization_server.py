"""A server behind OAuth 2.1, with an authorization server of its own, on version 2 of the SDK.

Its user agrees to everything. Refresh tokens are used once: whoever shows one a second time loses the whole grant,
as a careful issuer does. Arguments: the port, and how long an access token lives, in seconds. GET /state says what
has happened; POST /end ends all access tokens, and with ?all=1 the refresh tokens as well.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections import Counter

import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

PORT, LIFE = int(sys.argv[1]), int(sys.argv[2])
URL = f"http://127.0.0.1:{PORT}"


class Issuer(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Keeps everything in memory, and counts."""

    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refreshing: dict[str, RefreshToken] = {}
        self.used: set[str] = set()
        self.counted: Counter[str] = Counter()

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.counted["registered"] += 1
        self.clients[str(client_info.client_id)] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        self.counted["asked"] += 1
        code = secrets.token_urlsafe(20)
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state, iss=URL)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self.grant(str(client.client_id), authorization_code.scopes, authorization_code.resource)

    def grant(self, client_id: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(20), secrets.token_urlsafe(20)
        expires_at = int(time.time()) + LIFE
        self.access[access] = AccessToken(
            token=access, client_id=client_id, scopes=scopes, expires_at=expires_at, resource=resource
        )
        self.refreshing[refresh] = RefreshToken(token=refresh, client_id=client_id, scopes=scopes, resource=resource)
        return OAuthToken(
            access_token=access, token_type="Bearer", expires_in=LIFE, refresh_token=refresh, scope=" ".join(scopes)
        )

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        if refresh_token in self.used:
            self.counted["reused"] += 1
            self.refreshing.clear()
            self.access.clear()
        return self.refreshing.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        self.counted["refreshed"] += 1
        self.used.add(refresh_token.token)
        del self.refreshing[refresh_token.token]
        return self.grant(str(client.client_id), scopes, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.counted["revoked"] += 1
        self.refreshing.clear()
        self.access.clear()


issuer = Issuer()
server = MCPServer(
    "guarded",
    auth_server_provider=issuer,
    auth=AuthSettings.model_validate(
        {
            "issuer_url": URL,
            "resource_server_url": f"{URL}/mcp",
            "client_registration_options": {"enabled": True},
            "revocation_options": {"enabled": True},
            "validate_token_resource": True,
        }
    ),
)


@server.tool()
def secret(ctx: Context) -> str:
    """Says the token that it was called with."""
    return (ctx.headers or {})["authorization"]


@server.custom_route("/state", methods=["GET"])
async def state(_: Request) -> Response:
    return JSONResponse({**issuer.counted, "valid": len(issuer.refreshing)})


@server.custom_route("/end", methods=["POST"])
async def end(request: Request) -> Response:
    issuer.access.clear()
    if "all" in request.query_params:
        issuer.refreshing.clear()
    return Response(status_code=204)


if __name__ == "__main__":
    uvicorn.run(server.streamable_http_app(), port=PORT, log_level="error")
