"""The kinds of issuers: settings for the tokens of each product, which can be overridden.

A preset holds what all tokens of a product have in common. What differs between two installations
(keys, audiences, which value stands for which agent) is the operator's to configure.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from authz.core.issuer_kind import IssuerKind


class Preset(msgspec.Struct, frozen=True):
    """The settings and the properties of a kind of issuer.

    Attributes:
        lines: the settings of an issuer that it sets, as in the config.
        own: the mark of a token that a client obtained for itself.
        needs: the settings about agents that the operator must add.
        tells_users: whether a user's token can be distinguished from a client's own by its claims.
    """

    lines: Mapping[str, Any]
    own: str
    needs: str
    tells_users: bool = False


_MAP: Final = "actor.map or actor.patterns: which agent each value of the claim stands for"
_NO_USERS: Final = "all are: an agent acts for itself"


def _lines(
    *, claim: str | tuple[str, ...] = "act", **lines: str | tuple[str, ...]
) -> Mapping[str, Any]:
    return MappingProxyType({**lines, "actor": MappingProxyType({"claim": claim})})


PRESETS: Final[Mapping[IssuerKind, Preset]] = MappingProxyType(
    {
        IssuerKind.KEYCLOAK: Preset(
            _lines(
                typ=("JWT", "at+jwt"),
                algorithms=("RS256", "PS256", "ES256", "EdDSA"),
                claim="azp",
            ),
            "jti that begins with trrtcc: and the like, preferred_username service-account-CLIENT,"
            " clientHost, clientAddress",
            f"{_MAP}; none, if client ids are SPIFFE IDs. With act, of its sub as well",
            tells_users=True,
        ),
        IssuerKind.ENTRA: Preset(
            _lines(typ=("JWT",), algorithms=("RS256",), scope_claim="scp", claim=("azp", "appid")),
            "no scp; idtyp: app; oid is sub",
            _MAP,
            tells_users=True,
        ),
        IssuerKind.AUTH0: Preset(
            _lines(
                typ=("JWT", "at+jwt"), algorithms=("RS256", "PS256"), claim=("azp", "client_id")
            ),
            "sub CLIENT@clients, gty: client-credentials, sub_profile that is not user",
            f"{_MAP}. With act, of its sub as well",
            tells_users=True,
        ),
        IssuerKind.OKTA: Preset(
            _lines(typ=("JWT",), algorithms=("RS256",), scope_claim="scp", claim="cid"),
            "sub is cid; no uid",
            _MAP,
            tells_users=True,
        ),
        IssuerKind.COGNITO: Preset(
            _lines(typ=("JWT",), algorithms=("RS256",), claim="client_id"),
            "sub is client_id; no username",
            f"{_MAP}. audiences: client ids, as its tokens have no aud",
            tells_users=True,
        ),
        IssuerKind.GOOGLE: Preset(
            _lines(typ=("JWT",), algorithms=("RS256",), claim="sub"),
            f"{_NO_USERS}, by a service account's token for an audience",
            "actor.map: which agent each service account's unique id (sub) stands for",
        ),
        IssuerKind.KUBERNETES: Preset(
            _lines(typ=("JWT",), algorithms=("RS256", "ES256"), claim="sub"),
            _NO_USERS,
            "actor.patterns, such as system:serviceaccount:{ns}:{sa}; or actor.map",
        ),
        IssuerKind.SPIRE: Preset(
            _lines(typ=("JWT", "JOSE"), algorithms=("ES256", "RS256", "ES384")),
            _NO_USERS,
            "keys.spiffe_bundle: the trust domain's bundle",
        ),
        IssuerKind.SPRING: Preset(
            _lines(typ=("JWT",), algorithms=("RS256", "ES256")),
            "sub is the client's id",
            "actor.map or actor.patterns: which agent each sub of an act stands for",
        ),
        IssuerKind.AIRLOCK: Preset(
            _lines(typ=("JWT", "at+jwt"), algorithms=("RS256", "ES256", "PS256")),
            "sub is the client's id",
            "actor.map or actor.patterns: which agent each sub of an act stands for",
        ),
        IssuerKind.SERVICENOW: Preset(
            _lines(typ=("JWT",), algorithms=("RS256",), claim=("azp", "client_id")),
            "sub is the client's id",
            f"{_MAP}. audiences: client ids, which its tokens have as aud",
        ),
        IssuerKind.GITHUB: Preset(
            _lines(typ=("JWT",), algorithms=("RS256",), claim="sub"),
            f"{_NO_USERS}, by a workflow's token for an audience",
            "actor.map: which agent each sub, such as repo:corp/app:environment:prod, stands for",
        ),
    }
)


def with_preset(lines: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an issuer's settings, completed with those of its kind.

    An invalid kind is left to the validation of the settings.
    """
    kind = lines.get("kind")
    preset = PRESETS.get(IssuerKind(kind)) if kind in list(IssuerKind) else None
    return lines if preset is None else _merged(preset.lines, lines)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**base, **over}
    for name, value in base.items():
        own = over.get(name, value)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            merged[name] = _merged(value, own)
    return merged
