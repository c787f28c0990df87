"""Makes delegation tokens for trying, as RFC 9068 and RFC 8693 describe them."""

import secrets
from dataclasses import dataclass
from typing import Final

from authz.core.spiffe import SCHEME, SpiffeId, SpiffeIdError
from authz.starter.errors import StarterError
from authz.starter.issuer import TryOutIssuer

MAX_LIFETIME_SECONDS: Final = 3600.0  # a token for trying is made for each use, and never kept
CLIENT: Final = "authz-token-make"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The contents of a token to make.

    Attributes:
        agent: the short name of an agent of the folder, or a SPIFFE ID: the token's current actor;
            None for the user's own token, which a token service exchanges.
        principal: the user, its ``sub``.
        audience: "" for the issuer's own.
    """

    agent: str | None
    principal: str
    scopes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    audience: str = ""
    lifetime_seconds: float = 600.0


def make_token(issuer: TryOutIssuer, request: TokenRequest, now: float) -> str:
    """Return a signed token, valid from ``now``, Unix seconds. Raises StarterError."""
    if not 1.0 <= request.lifetime_seconds <= MAX_LIFETIME_SECONDS:
        raise StarterError("--lifetime: a token for trying lasts from 1s to 1h")
    claims: dict[str, object] = {
        "sub": request.principal,
        "aud": request.audience or issuer.audience,
        "client_id": CLIENT,
        "iat": int(now),
        "exp": int(now + request.lifetime_seconds),
        "jti": secrets.token_hex(16),
        "scope": " ".join(request.scopes),
    }
    if request.agent is not None:
        claims["act"] = {"sub": agent_id(issuer, request.agent)}
    return issuer.sign(claims | ({"groups": list(request.groups)} if request.groups else {}))


def agent_id(issuer: TryOutIssuer, name: str) -> str:
    """Return the SPIFFE ID that a short name stands for, or that it is. Raises StarterError."""
    if name in issuer.agents:
        return issuer.agents[name]
    try:
        return str(SpiffeId.parse(name))
    except SpiffeIdError as error:
        if name.startswith(SCHEME):
            raise StarterError(f"--agent: {error}") from None
        raise StarterError(
            f"--agent: {name!r} is not one of {', '.join(issuer.agents)}, nor a SPIFFE ID: make "
            "another folder with all of your agents, by authz init --agent NAME, repeatable"
        ) from None
