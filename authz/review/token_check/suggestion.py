"""Suggests the smallest issuer block that accepts a token, or says why none should.

The block begins with the token's own values, and the core's checks show what else it needs. It is
never wider than the token: it has the token's own type, algorithm, audience and actor, and no
others, even if the product's kind sets more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from authz.core.decision import Mode
from authz.core.delegation import IssuerSettings
from authz.core.delegation.jwt_svid import trust_domain_of
from authz.core.delegation.presets import PRESETS
from authz.core.issuer_kind import IssuerKind
from authz.core.jose.jws import media_type
from authz.core.routes import Route, RouteMode
from authz.core.spiffe import SCHEME
from authz.core.urls import check_url, is_plaintext
from authz.review.token_check.asked import Asked
from authz.review.token_check.candidates import SCOPE_CLAIMS, TYPES
from authz.review.token_check.mending import Mended, mend
from authz.review.token_check.shapes import audiences, kind_of
from authz.review.token_check.shown import is_presentable
from authz.review.yaml_flow import flow

_ROUTES: Final = (Route(), Route(modes=frozenset({RouteMode.AUTONOMOUS})))
_MADE_UP: Final = "keys.json"  # if the token says nothing about its keys
_KUBERNETES_KEYS: Final = "https://kubernetes.default.svc/openid/v1/jwks"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A block for a config, or the reason why there is none.

    Attributes:
        block: settings of an issuer, as in the config; empty for none.
        notes: what the operator must check first, or why there is no block.
        mode: how the agent acts with it, "" without a block.
    """

    block: Mapping[str, Any]
    notes: tuple[str, ...]
    mode: str = ""

    def lines(self) -> Iterator[str]:
        """Yield YAML with comments, to paste into a config's ``issuers``."""
        yield from (f"# {note}" for note in self.notes)
        lead = "  - "
        yield from ["issuers:"] if self.block else []
        for name, value in self.block.items():
            yield f"{lead}{name}: {flow(value)}"
            lead = "    "

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {"block": dict(self.block) or None, "notes": list(self.notes), "mode": self.mode}


def suggest_issuer(
    asked: Asked, keys: Mapping[str, Any] | None, listed: frozenset[str]
) -> Suggestion:
    """Suggest a block for the token's issuer.

    ``keys`` are the config's keys for it, ``listed`` the audiences that the config names.
    """
    asked = replace(asked, is_cautious=True)
    members = asked.jws.payload
    name = members.get("iss", _trust_domain(members))
    if not isinstance(name, str) or not is_presentable(name):
        return _none("it has no iss that could be trusted by its name")
    audience = _audience(members, listed)
    if audience is None:
        return _none("it is for nobody, or for its issuer's own services: get one for this server")
    typ = next((typ for typ in TYPES if media_type(typ) == asked.jws.header.media_type), None)
    if typ is None:
        return _none("token_typ: its typ is of no access token")
    base = _base(asked, name, keys or _keys(name, members), audience, typ)
    if base is None:
        return _none("its alg, its iss or its sub is none that a config can have")
    return _best(asked, base, listed)


def _trust_domain(members: Mapping[str, Any]) -> str | None:
    """Return a name for the issuer of a JWT-SVID without ``iss``: its trust domain."""
    is_svid = "iss" not in members and kind_of(members) is IssuerKind.SPIRE
    return f"{SCHEME}{trust_domain_of(members)}" if is_svid else None


def _best(asked: Asked, base: IssuerSettings, listed: frozenset[str]) -> Suggestion:
    """Return the block by which the token counts on a route of either mode, or why none does."""
    tried = [mend(asked, base, route) for route in _ROUTES]
    found = next((mended for mended in tried if not mended.left), None)
    if found is not None:
        return Suggestion(
            _written(asked, found.issuer), tuple(_notes(asked, found, listed)), str(found.mode)
        )
    nearest = min(tried, key=lambda mended: len(mended.left))
    return _none(*(f"{fault.reason.code}: {fault.detail}" for fault in nearest.left))


def _none(*why: str) -> Suggestion:
    return Suggestion({}, ("no block should take this token:", *(f"  {word}" for word in why)))


def _audience(members: Mapping[str, Any], listed: frozenset[str]) -> str | None:
    """Return the audience to accept: one that the config already has, else the first."""
    named = [name for name in audiences(members) if is_presentable(name)]
    return next((name for name in named if name in listed), named[0] if named else None)


def _base(
    asked: Asked, name: str, keys: Mapping[str, Any], audience: str, typ: str
) -> IssuerSettings | None:
    """Return the narrowest settings for the token; None if they would not be valid."""
    try:
        return IssuerSettings.model_validate(
            {
                "issuer": name,
                "keys": dict(keys),
                "audiences": (audience,),
                "algorithms": (asked.jws.header.algorithm,),
                "typ": (typ,),
                "scope_claim": _scope_claim(asked.jws.payload),
            }
        )
    except ValidationError:
        return None


def _scope_claim(members: Mapping[str, Any]) -> str:
    """Return the claim of scopes that the token has; without such a claim, its product's."""
    kind = kind_of(members)
    usual = PRESETS[kind].lines.get("scope_claim", SCOPE_CLAIMS[0]) if kind else SCOPE_CLAIMS[0]
    return next((name for name in SCOPE_CLAIMS if name in members), usual)


def _keys(name: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the product has its keys; the operator must check that."""
    kind = kind_of(members)
    if kind is IssuerKind.KUBERNETES:
        return {"jwks_uri": _KUBERNETES_KEYS}
    if kind is IssuerKind.SPIRE:
        bundle = {"trust_domain": trust_domain_of(members), "file": _MADE_UP}
        return {"spiffe_bundle": bundle}
    try:
        check_url(name)
    except ValueError:
        return {"file": _MADE_UP}
    return {"file": _MADE_UP} if is_plaintext(name) else {"discovery": True}


def _written(asked: Asked, issuer: IssuerSettings) -> dict[str, Any]:
    """Return the settings as lines: only those that differ from the kind's settings."""
    kind = kind_of(asked.jws.payload)
    given: Mapping[str, Any] = PRESETS[kind].lines if kind else {}
    fields = IssuerSettings.model_fields
    block: dict[str, Any] = {"issuer": issuer.issuer} | ({"kind": str(kind)} if kind else {})
    if issuer.keys is not None:
        block["keys"] = issuer.keys.model_dump(exclude_defaults=True)
    block["audiences"] = issuer.audiences
    for name in ("algorithms", "typ", "scope_claim", "max_actors", "person_shown_by"):
        value = getattr(issuer, name)
        if value != given.get(name, fields[name].get_default()):
            block[name] = value
    if issuer.max_lifetime > fields["max_lifetime"].get_default():
        block["max_lifetime"] = f"{issuer.max_lifetime:.0f}s"
    if actor := _actor_lines(issuer, given.get("actor", {}).get("claim", "act")):
        block["actor"] = actor
    return block


def _actor_lines(issuer: IssuerSettings, given: str | tuple[str, ...]) -> dict[str, Any]:
    claim = issuer.actor.claim
    lines: dict[str, Any] = {}
    if claim != ((given,) if isinstance(given, str) else given):
        lines["claim"] = claim[0] if len(claim) == 1 else claim
    for name in ("map", "issuers"):
        if value := getattr(issuer.actor, name):
            lines[name] = value
    return lines


def _notes(asked: Asked, found: Mended, listed: frozenset[str]) -> Iterator[str]:
    """Yield the points that the operator must check before the block is used."""
    yield "Look at each line before you use it: a token says what it likes."
    keys, bundle = found.issuer.keys, found.issuer.bundle
    if _MADE_UP in {keys.file if keys else None, bundle.file if bundle else None}:
        yield "keys: say where this issuer's keys are."
    elif kind_of(asked.jws.payload) is IssuerKind.KUBERNETES:
        yield "keys: the cluster's, which ask for a service account's token unless they are public."
    if listed.isdisjoint(found.issuer.audiences):
        yield f"audiences: only if {flow(found.issuer.audiences[0])} is this server's own name."
    others = [name for name in audiences(asked.jws.payload) if name not in found.issuer.audiences]
    if others:
        yield f"audiences: the token is also for {flow(tuple(filter(is_presentable, others)))}."
    if asked.placeholder.text in found.issuer.actor.map.values():
        yield f"actor.map: put the agent's SPIFFE ID in the place of {asked.placeholder.text}."
    for _, change in found.needed:
        if change is not None and change.only_if and "actor" not in change.lines:
            yield f"{', '.join(change.lines)}: only if {change.only_if}."
    if found.mode is Mode.AUTONOMOUS:
        yield "It is the agent's own token: it counts on routes with modes: [autonomous] alone."
