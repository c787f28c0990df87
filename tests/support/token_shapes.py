"""The shapes of tokens that products make, with made-up values; and their ID tokens."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lab.issuer import Issuer, SigningKey, sign_json
from lab.mesh import AUDIENCE, TRAVEL

ENTRA: Final = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"
KEYCLOAK: Final = "https://kc.corp.example/realms/corp"
AUTH0: Final = "https://corp.eu.auth0.example/"
_PLAIN: Final = {"typ": "JWT"}
_NO_TYPE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True)
class Shape:
    """A token as a product makes it.

    Attributes:
        mode: how an agent acts with it.
        another: changes that make it another agent's.
    """

    name: str
    header: Mapping[str, str]
    claims: Mapping[str, Any]
    mode: str = ""
    kind: str = ""
    another: Mapping[str, Any] = field(default_factory=dict)

    def token(self, key: SigningKey, **changes: Any) -> str:
        """Make the token; a change to None leaves a claim out."""
        now = int(time.time())
        times = {"iat": now, "exp": now + 300}
        claims = {"aud": AUDIENCE, **times, **self.claims, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        return sign_json(key, {"alg": key.algorithm, "kid": key.key_id, **self.header}, claims)


SHAPES: Final = (
    Shape(
        "keycloak-user",
        _PLAIN,
        {
            "iss": KEYCLOAK,
            "sub": "0c1d7b52-2a35-4f5a-8c0e-111111111111",
            "typ": "Bearer",
            "azp": "travel-agent",
            "sid": "s-1",
            "preferred_username": "alice",
            "realm_access": {"roles": ["offline_access"]},
            "scope": "profile email",
            "jti": "t-1",
        },
        "mapped",
        "keycloak",
        {"azp": "payments-agent"},
    ),
    Shape(
        "keycloak-act",
        _PLAIN,
        {
            "iss": KEYCLOAK,
            "sub": "0c1d7b52-2a35-4f5a-8c0e-111111111111",
            "typ": "Bearer",
            "azp": "travel-agent",
            "act": {"sub": "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77"},
            "scope": "profile email",
        },
        "act",
        "keycloak",
        {"act": {"sub": "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c78"}},
    ),
    Shape(
        "keycloak-service-account",
        _PLAIN,
        {
            "iss": KEYCLOAK,
            "sub": "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77",
            "typ": "Bearer",
            "azp": "travel-agent",
            "client_id": "travel-agent",
            "preferred_username": "service-account-travel-agent",
            "clientHost": "10.0.0.7",
            "scope": "profile email",
        },
        "autonomous",
        "keycloak",
        {"azp": "payments-agent", "client_id": "payments-agent"},
    ),
    Shape(
        "kagenti",
        _PLAIN,
        {
            "iss": "https://kc.corp.example/realms/kagenti",
            "sub": "0c1d7b52-2a35-4f5a-8c0e-111111111111",
            "typ": "Bearer",
            "azp": TRAVEL,
            "sid": "s-1",
            "preferred_username": "alice",
            "scope": "profile",
        },
        "mapped",
        "keycloak",
        {"azp": "spiffe://corp.example/ns/agents/sa/payments"},
    ),
    Shape(
        "auth0-user",
        _PLAIN,
        {"iss": AUTH0, "sub": "auth0|alice", "azp": "iTravelClient", "scope": "balance:read"},
        "mapped",
        "auth0",
        {"azp": "iPaymentsClient"},
    ),
    Shape(
        "auth0-m2m",
        _PLAIN,
        {
            "iss": AUTH0,
            "sub": "iTravelClient@clients",
            "azp": "iTravelClient",
            "gty": "client-credentials",
            "scope": "balance:read",
        },
        "autonomous",
        "auth0",
        {"azp": "iPaymentsClient", "sub": "iPaymentsClient@clients"},
    ),
    Shape(
        "auth0-agent",
        {"typ": "at+jwt"},
        {
            "iss": AUTH0,
            "sub": "auth0|65a1",
            "client_id": "iTravelClient",
            "sub_profile": "user",
            "jti": "t-1",
            "scope": "balance:read",
            "act": {"sub": TRAVEL, "sub_profile": "ai_agent", "act": {"sub": "WebAppClientId"}},
        },
        "act",
        "auth0",
        {"act": {"sub": "spiffe://corp.example/ns/agents/sa/payments"}},
    ),
    Shape(
        "entra-user",
        _PLAIN,
        {
            "iss": ENTRA,
            "aud": "f2510d34-8dca-4ab8-a0bc-aaec4d3a3e36",
            "azp": "aaaaaaaa-1111-2222-3333-444444444444",
            "oid": "o-1",
            "sub": "dRTK7Kus-2MQbunK0z8pCjz4VYx",
            "scp": "Balance.Read User.Read",
            "uti": "u",
            "ver": "2.0",
        },
        "mapped",
        "entra",
        {"azp": "bbbbbbbb-1111-2222-3333-444444444444"},
    ),
    Shape(
        "entra-app",
        _PLAIN,
        {
            "iss": ENTRA,
            "aud": "f2510d34-8dca-4ab8-a0bc-aaec4d3a3e36",
            "azp": "aaaaaaaa-1111-2222-3333-444444444444",
            "idtyp": "app",
            "oid": "cccccccc-1111-2222-3333-444444444444",
            "sub": "cccccccc-1111-2222-3333-444444444444",
            "roles": ["Balance.Read"],
            "uti": "u",
            "ver": "2.0",
        },
        "autonomous",
        "entra",
        {"azp": "bbbbbbbb-1111-2222-3333-444444444444"},
    ),
    Shape(
        "okta",
        _NO_TYPE,
        {
            "iss": "https://corp.okta.example/oauth2/default",
            "aud": "api://finance",
            "sub": "alice@corp.example",
            "scp": ["balance:read"],
            "cid": "0oa1travel",
            "uid": "00u1",
            "ver": 1,
            "jti": "AT.x",
        },
        "mapped",
        "okta",
        {"cid": "0oa2payments"},
    ),
    Shape(
        "cognito",
        _NO_TYPE,
        {
            "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x",
            "aud": None,
            "sub": "9f1c0c52-2a35-4f5a-8c0e-111111111111",
            "client_id": "5bsjtravel",
            "token_use": "access",
            "username": "alice",
            "scope": "finance/balance.read",
        },
        "mapped",
        "cognito",
        {"client_id": "7payments"},
    ),
    Shape(
        "spring",
        _NO_TYPE,
        {
            "iss": "https://spring.corp.example",
            "sub": "alice",
            "scope": ["balance:read", "profile"],
            "act": {"iss": "https://spring.corp.example", "sub": "travel-client"},
        },
        "act",
        "",
        {"act": {"iss": "https://spring.corp.example", "sub": "payments-client"}},
    ),
    Shape(
        "servicenow",
        _PLAIN,
        {
            "iss": "https://corp.service-now.example",
            "aud": "feee1fb3b05b4e33",
            "azp": "feee1fb3b05b4e33",
            "sub": "alice",
            "scope": "balance:read",
        },
        "mapped",
        "",
        {"azp": "feee1fb3b05b4e34", "aud": "feee1fb3b05b4e34"},
    ),
    Shape(
        "kubernetes",
        _NO_TYPE,
        {
            "iss": "https://kubernetes.default.svc.cluster.local",
            "aud": [AUDIENCE],
            "sub": "system:serviceaccount:agents:travel",
            "kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "travel"}},
        },
        "autonomous",
        "kubernetes",
        {"sub": "system:serviceaccount:agents:payments"},
    ),
    Shape(
        "spire",
        _PLAIN,
        {"iss": "https://spire.corp.example", "aud": [AUDIENCE], "sub": TRAVEL},
        "autonomous",
        "spire",
        {"sub": "spiffe://corp.example/ns/agents/sa/payments"},
    ),
    Shape(
        "spire-without-iss",
        {"typ": "JOSE"},
        {"iat": None, "aud": [AUDIENCE], "sub": TRAVEL},
        "autonomous",
        "spire",
        {"sub": "spiffe://corp.example/ns/agents/sa/payments"},
    ),
    Shape(
        "google",
        _PLAIN,
        {
            "iss": "https://accounts.google.com",
            "sub": "109876543210987654321",
            "azp": "109876543210987654321",
            "email": "travel@corp.iam.gserviceaccount.com",
            "email_verified": True,
        },
        "autonomous",
        "google",
        {"sub": "109876543210987654322", "azp": "109876543210987654322"},
    ),
    Shape(
        "github",
        _PLAIN,
        {
            "iss": "https://token.actions.githubusercontent.com",
            "sub": "repo:corp/app:environment:prod",
            "repository": "corp/app",
            "job_workflow_ref": "corp/app/.github/workflows/x.yml@refs/heads/main",
        },
        "autonomous",
        "github",
        {"sub": "repo:corp/other:environment:prod"},
    ),
    Shape(
        "at-jwt-with-azp",
        {"typ": "at+jwt"},
        {
            "iss": "https://as.other.example",
            "sub": "alice",
            "azp": "travel-agent",
            "jti": "t-1",
            "scope": "balance:read",
        },
        "mapped",
        "",
        {"azp": "payments-agent"},
    ),
)
ID_TOKENS: Final = (
    Shape(
        "google",
        _PLAIN,
        {
            "iss": "https://accounts.google.com",
            "sub": "alice",
            "azp": "client-1",
            "aud": "client-1",
            "email": "a@corp.example",
            "hd": "corp.example",
        },
    ),
    Shape(
        "github-elsewhere",
        _PLAIN,
        {
            "iss": "https://as.other.example",
            "sub": "repo:corp/app:ref:refs/heads/main",
            "repository": "corp/app",
            "job_workflow_ref": "corp/app/.github/workflows/x.yml@refs/heads/main",
        },
    ),
    Shape(
        "okta",
        _NO_TYPE,
        {
            "iss": "https://corp.okta.example",
            "sub": "00u1",
            "aud": "client-1",
            "ver": 1,
            "amr": ["pwd"],
            "auth_time": 1,
            "preferred_username": "alice",
        },
    ),
    Shape(
        "cognito",
        _NO_TYPE,
        {
            "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x",
            "sub": "alice",
            "aud": "client-1",
            "token_use": "id",
            "cognito:username": "alice",
        },
    ),
    Shape(
        "entra",
        _PLAIN,
        {
            "iss": ENTRA,
            "sub": "alice",
            "aud": "client-1",
            "ver": "2.0",
            "oid": "o-1",
            "tid": "t-1",
            "preferred_username": "alice@corp.example",
            "uti": "u",
        },
    ),
    Shape(
        "keycloak",
        _PLAIN,
        {
            "iss": KEYCLOAK,
            "sub": "alice",
            "typ": "ID",
            "azp": "client-1",
            "aud": "client-1",
            "sid": "s-1",
        },
    ),
    Shape(
        "auth0",
        _PLAIN,
        {"iss": AUTH0, "sub": "auth0|alice", "aud": "client-1", "sid": "s-1", "nonce": "n"},
    ),
    Shape(
        "another-audience",
        _PLAIN,
        {"iss": "https://as.other.example", "sub": "alice", "aud": "api", "azp": "client-1"},
    ),
)
REFRESH: Final = Shape(
    "keycloak-refresh",
    _PLAIN,
    {"iss": KEYCLOAK, "sub": "alice", "typ": "Refresh", "azp": "client-1", "scope": "profile"},
)


def new_issuer() -> Issuer:
    """Make an issuer that signs as most products do."""
    return Issuer("https://any.corp.example", AUDIENCE, "RS256")
