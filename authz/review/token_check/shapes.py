"""Recognises the product that made a token by its shape, if the product's tokens have their own.

A shape only shows where to look: the checks of the core alone decide whether a token counts.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from authz.core.issuer_kind import IssuerKind
from authz.core.spiffe import SCHEME

Members = Mapping[str, Any]
# Audiences of the products' own APIs, which issuers put into every token: never this server's.
_OF_PRODUCTS: Final = frozenset(
    {
        "account",  # Keycloak's account console
        "00000003-0000-0000-c000-000000000000",  # Microsoft Graph
        "https://graph.microsoft.com",
        "https://graph.windows.net",
    }
)
_CLIENTS: Final = ("azp", "client_id", "cid", "appid")


def kind_of(members: Members) -> IssuerKind | None:
    """Return the product whose tokens alone have this shape, None for no certain one."""
    return next((kind for kind, fits in _SHAPES if fits(members)), None)


def actor_claims(members: Members) -> tuple[str, ...]:
    """Return the claims that may name the agent, beside ``act``: the likeliest first.

    A subject names an agent only if the product gives such tokens to workloads alone: elsewhere it
    is a person, and no map may turn a person into an agent.
    """
    if kind_of(members) in _WORKLOADS:
        return ("sub",)
    return tuple(name for name in _CLIENTS if _text(members, name))


def audiences(members: Members) -> tuple[str, ...]:
    """Return the audiences that may be this server's, or the client that stands for them."""
    named = members.get("aud", members.get("client_id"))
    listed = named if isinstance(named, list) else [named]
    texts = [name for name in listed if isinstance(name, str) and name]
    others = _OF_PRODUCTS | _of_issuer(members)
    return tuple(name for name in texts if name not in others and not _is_userinfo(name))


def _of_issuer(members: Members) -> frozenset[str]:
    """Return the audience that is the issuer's own API: it has the issuer's name."""
    return frozenset({_text(members, "iss")} if kind_of(members) in _OWN_APIS else ())


def _is_userinfo(name: str) -> bool:
    return name.endswith("/userinfo")  # Auth0 lists it beside the API


def _text(members: Members, name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _host(members: Members) -> str:
    try:
        return urlsplit(_text(members, "iss")).hostname or ""
    except ValueError:
        return ""


def _kubernetes(members: Members) -> bool:
    return _text(members, "sub").startswith("system:serviceaccount:")


def _spire(members: Members) -> bool:
    others = ("act", "scope", "scp", *_CLIENTS)
    return _text(members, "sub").startswith(SCHEME) and not any(name in members for name in others)


def _github(members: Members) -> bool:
    return _host(members) == "token.actions.githubusercontent.com" and "repository" in members


def _google(members: Members) -> bool:
    is_account = _text(members, "email").endswith(".gserviceaccount.com")
    return _host(members) == "accounts.google.com" and is_account


def _cognito(members: Members) -> bool:
    return "token_use" in members


def _entra(members: Members) -> bool:
    is_theirs = _host(members) in ("login.microsoftonline.com", "sts.windows.net")
    return is_theirs or {"uti", "ver", "oid"} <= members.keys()


def _okta(members: Members) -> bool:
    return "cid" in members


def _auth0(members: Members) -> bool:
    is_theirs = ".auth0." in _host(members) and "realm_access" not in members
    return is_theirs or "gty" in members or _text(members, "sub").endswith("@clients")


def _keycloak(members: Members) -> bool:
    return "realm_access" in members or "/realms/" in _text(members, "iss")


_SHAPES: Final[tuple[tuple[IssuerKind, Callable[[Members], bool]], ...]] = (
    (IssuerKind.KUBERNETES, _kubernetes),
    (IssuerKind.GITHUB, _github),
    (IssuerKind.GOOGLE, _google),
    (IssuerKind.SPIRE, _spire),
    (IssuerKind.COGNITO, _cognito),
    (IssuerKind.ENTRA, _entra),
    (IssuerKind.OKTA, _okta),
    (IssuerKind.KEYCLOAK, _keycloak),
    (IssuerKind.AUTH0, _auth0),
)
_OWN_APIS: Final = frozenset({IssuerKind.KUBERNETES, IssuerKind.OKTA})
_WORKLOADS: Final = frozenset({IssuerKind.KUBERNETES, IssuerKind.GITHUB, IssuerKind.GOOGLE})
