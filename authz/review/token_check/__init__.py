"""Checks a token against a config: all its faults at once, and settings that would accept it.

It runs the core's own checks one by one, although the server stops at the first refusal. No part of
a token's text is printed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from authz.config import Config
from authz.config.merged import MergedConfig
from authz.core.decision import Agent
from authz.core.delegation import IssuerSettings
from authz.core.delegation.jwt_svid import by_trust_domain
from authz.core.delegation.opaque import NoAnswers, OpaqueTokens
from authz.core.delegation.verifier import find_issuer
from authz.core.jose.jws import parse_compact
from authz.core.needs import IntrospectionNeeded
from authz.core.reason import Denied, Reason
from authz.core.routes import Route, Routes
from authz.core.spiffe import SpiffeId
from authz.review.token_check.asked import Asked
from authz.review.token_check.shown import claim_values, cut, header_values, value_lines
from authz.review.token_check.signing import verify
from authz.review.token_check.status import look_up
from authz.review.token_check.suggestion import Suggestion, suggest_issuer
from authz.review.token_check.verdicts import IssuerVerdict, judge
from authz.wiring.files import read_revocations

PLACEHOLDER: Final = "put-the-agent-here"  # the path of a SPIFFE ID that stands for any agent
_UNVERIFIED: Final = "Its signature was NOT verified: anybody may have written this token."
_DOTS_OF_JWE: Final = 4  # RFC 7516 section 7.1
_JSON: Final = "{"  # of a token endpoint's whole answer
_DOTS: Final = 2  # of a JWS in compact form (RFC 7515 section 7.1)


class UnknownRouteError(Exception):
    """The config has no route of this name; the message says which it has."""


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A question about a token.

    Attributes:
        agent: the caller; None for the agent that the token names.
        route: the name of the only route to check; "" for all.
        now: unix seconds.
        offline: whether to leave out keys that must be fetched.
        shows_claims: whether to show the values of all claims.
        suggests: whether to suggest an issuer block.
    """

    now: float
    agent: SpiffeId | None = None
    route: str = ""
    offline: bool = False
    shows_claims: bool = False
    suggests: bool = False


@dataclass(frozen=True, slots=True)
class TokenReport:
    """The findings about a token.

    Attributes:
        unread: why it could not be read, None if it was read.
        verdicts: by issuer; the verdict of the token's own issuer first.
        suggestion: None unless it was requested.
    """

    now: float
    unread: Denied | None = None
    header: dict[str, Any] | None = None
    claims: dict[str, Any] | None = None
    verdicts: tuple[IssuerVerdict, ...] = ()
    suggestion: Suggestion | None = None

    @property
    def is_accepted(self) -> bool:
        """Tell whether a configured issuer accepts it."""
        return any(verdict.accepts for verdict in self.verdicts)

    def lines(self) -> Iterator[str]:
        """Yield the lines for a person."""
        if self.unread is not None:
            yield f"{self.unread.reason.code}: {self.unread.detail}"
            return
        yield "header"
        yield from value_lines(self.header or {}, self.now)
        yield "claims"
        yield from value_lines(self.claims or {}, self.now)
        for verdict in self.verdicts:
            yield from ("", *verdict.lines()) if verdict.routes else verdict.lines()
        yield from ("", f"{self._word()}.")
        if self.suggestion is not None:
            yield from ("", *self.suggestion.lines())

    def _word(self) -> str:
        if self.is_accepted:
            return "accepted"
        unsure = [verdict for verdict in self.verdicts if verdict.would_accept]
        if unsure:
            what = "signature" if unsure[0].signature.unknown else "status"
            return f"not verified: it would count if its {what} is good"
        if not any(verdict.routes for verdict in self.verdicts):
            return "refused, token_issuer: no issuer of the config made it; see --suggest"
        return "refused"

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        unread = self.unread
        return {
            "accepted": self.is_accepted,
            "unread": None
            if unread is None
            else {"reason": unread.reason.code, "detail": unread.detail},
            "header": self.header,
            "claims": self.claims,
            "issuers": [verdict.members() for verdict in self.verdicts],
            "suggestion": None if self.suggestion is None else self.suggestion.members(),
        }


def check_token(
    config: Config, merged: MergedConfig, token: str, question: TokenQuestion
) -> TokenReport:
    """Check a token as the server would, and continue after each refusal.

    Raises UnknownRouteError, BuildError. Blocks as long as fetching the issuer's keys takes, and
    the status list that the token names.
    """
    routes = _routes(config, question.route)
    placeholder = SpiffeId.parse(f"spiffe://{config.trust_domains[0]}/{PLACEHOLDER}")
    text = without_scheme(token, config.token.scheme)
    if text.count(".") != _DOTS or text.startswith(_JSON):
        return TokenReport(question.now, unread=_unread(config, text, placeholder, question.now))
    try:
        jws = parse_compact(text, config.token.max_bytes)
    except Denied as denied:
        return TokenReport(question.now, unread=denied)
    asked = Asked(jws, question.agent, placeholder, question.now)
    verdicts = _verdicts(config, merged, asked, routes, question)
    return TokenReport(
        question.now,
        None,
        header_values(jws),
        claim_values(jws, shows_all=question.shows_claims),
        verdicts,
        _suggestion(config, asked, verdicts) if question.suggests else None,
    )


def without_scheme(token: str, scheme: str) -> str:
    """Return the token of a header's value, which may begin with its scheme (RFC 6750 2.1)."""
    text = token.strip()
    first, _, rest = text.partition(" ")
    return rest.strip() if first.lower() in {"bearer", "dpop", scheme.lower()} else text


def _unread(config: Config, text: str, caller: SpiffeId, now: float) -> Denied:
    """Return the message about a text that is not a JWS."""
    if not text:
        return Denied(
            Reason.TOKEN_MISSING, "there is no token: the file or standard input is empty"
        )
    if text.startswith(_JSON):
        detail = "it is JSON: take the value of access_token out of it, without the quotes"
        return Denied(Reason.TOKEN_MALFORMED, detail)
    opaque = OpaqueTokens(config.issuers, NoAnswers(), config.token.max_bytes)
    try:
        if opaque.takes(text):
            opaque.read(text, Agent(caller), now)
        parse_compact(text, config.token.max_bytes)
    except Denied as denied:
        return _of_opaque(text, denied)
    raise AssertionError("a text that is not a JWS was read, and no issuer was asked about it")


def _of_opaque(text: str, denied: Denied) -> Denied:
    """Reword the core's refusal of an opaque token."""
    what = "encrypted (JWE)" if text.count(".") == _DOTS_OF_JWE else "opaque"
    if isinstance(denied.needs, IntrospectionNeeded):
        whom = denied.needs.issuer
        detail = f"it is {what}: this verb asks nobody; authz explain --token-file asks {whom}"
        return Denied(denied.reason, detail)
    hint = "only an issuer with introspection (RFC 7662) can tell what it means"
    return Denied(denied.reason, f"it is {what}, and not a signed JWT: {hint}; {denied.detail}")


def _routes(config: Config, name: str) -> tuple[Route, ...]:
    """Return the routes to check. Raises UnknownRouteError."""
    routes = Routes(config.routes).by_name
    if not name:
        return (*routes.values(), Route())
    if name not in routes:
        known = ", ".join(routes) or "none"
        raise UnknownRouteError(f"no route {name!r} in the config; its routes: {known}")
    return (routes[name],)


def _verdicts(
    config: Config,
    merged: MergedConfig,
    asked: Asked,
    routes: tuple[Route, ...],
    question: TokenQuestion,
) -> tuple[IssuerVerdict, ...]:
    revocations = read_revocations(config)
    name, maker = asked.jws.payload.get("iss"), _maker(config, asked)
    found: list[IssuerVerdict] = []
    for at, issuer in enumerate(config.issuers):
        place = _place(merged, at)
        if issuer is maker:
            signature = verify(asked.jws, issuer, offline=question.offline)
            named = asked.named(issuer)
            agent = named.text if named else ""
            status = look_up(asked, issuer, signature, offline=question.offline)
            begun = IssuerVerdict(issuer.issuer, place, signature, agent=agent, status=status)
            found.insert(0, judge(asked, issuer, routes, revocations, begun))
        else:
            found.append(IssuerVerdict(issuer.issuer, place, why_not=_why_not(name, issuer)))
    return tuple(found)


def _maker(config: Config, asked: Asked) -> IssuerSettings | None:
    """Return the configured issuer that made the token, as the server finds it."""
    named = {issuer.issuer: issuer for issuer in config.issuers}
    try:
        return find_issuer(named, by_trust_domain(config.issuers), asked.jws)
    except Denied:
        return None


def _place(merged: MergedConfig, at: int) -> str:
    document, inner = merged.origin(("issuers", at))
    return f"{document.file}:{document.line_of(inner)}"


def _why_not(name: object, issuer: IssuerSettings) -> str:
    """Say in one line why this issuer did not make the token."""
    if not isinstance(name, str):
        return (
            "the token has no iss, and its sub is not of the trust domain of this issuer's bundle"
        )
    if name == issuer.issuer:
        return "it has no keys in the config, so only its opaque tokens count"
    is_near = name.rstrip("/").casefold() == issuer.issuer.rstrip("/").casefold()
    hint = f"; it is {cut(name)}, and is compared byte for byte" if is_near else ""
    return f"iss differs{hint}"


def _suggestion(
    config: Config, asked: Asked, verdicts: tuple[IssuerVerdict, ...]
) -> Suggestion | None:
    """Suggest a block, but never for a token whose signature is wrong or that was revoked."""
    of_it = next((verdict for verdict in verdicts if verdict.routes), None)
    if of_it is not None and of_it.signature.fault is not None:
        fault = of_it.signature.fault
        return Suggestion({}, (f"no block should take this token: {fault.detail}",))
    known = next((i for i in config.issuers if of_it and i.issuer == of_it.issuer), None)
    named = None if known is None else asked.named(known)
    if named is not None and asked.agent not in (None, named):
        why = "by the config its actor is another agent"
        return Suggestion({}, (f"no block should take this token: {why}",))
    if asked.agent is None:
        asked = replace(asked, agent=named)
    listed = {name for issuer in config.issuers for name in issuer.audiences}
    keys = known.keys.model_dump(exclude_defaults=True) if known and known.keys else None
    found = suggest_issuer(asked, keys, frozenset(listed))
    if found.block and not (of_it and of_it.signature.is_good):
        return replace(found, notes=(_UNVERIFIED, *found.notes))
    return found
