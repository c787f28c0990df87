"""Warns about settings of the token service that are valid but probably not meant."""

from collections.abc import Iterator
from importlib.util import find_spec

from authz.config import Config, Place
from authz.core.choice import Need
from authz.core.delegation import IssuerSettings
from authz.core.extras import missing_extra
from authz.core.patterns import ANY
from authz.core.spiffe import SpiffePattern
from authz.core.sts import Binding, TokenServiceSettings
from authz.core.sts.settings import TOKEN_TYPE, ConsentNeed, TokenRuleSettings

Warnings = Iterator[tuple[Place, str]]


def sts_warnings(config: Config) -> Warnings:
    """Yield each doubtful place of section sts, and the warning."""
    sts = config.sts
    if sts is None:
        return
    if find_spec("aiohttp") is None:
        yield ("sts",), missing_extra("sts", "authz sts needs")
    if sts.bind is Binding.NONE:
        message = (
            "whoever gets hold of a token can use it, unless the client sent a DPoP proof: leave it"
            " out to bind tokens to the client's certificate"
        )
        yield ("sts", "bind"), message
    if all(issuer.issuer != sts.issuer for issuer in config.issuers):
        message = (
            "no entry of issuers has this issuer, so the server refuses the tokens of the token"
            " service: add one, with jwks_uri at its jwks.json"
        )
        yield ("sts", "issuer"), message
    for at, issuer in enumerate(config.issuers):
        if issuer.issuer == sts.issuer:
            yield from _of_own_entry(("issuers", at), issuer, sts)
    yield from _of_id_tokens(sts)
    for at, rule in enumerate(sts.rules):
        yield from _of_rule(config, ("sts", "rules", at), rule)
        yield from _of_consent(config, ("sts", "rules", at), rule)


def _of_own_entry(place: Place, own: IssuerSettings, sts: TokenServiceSettings) -> Warnings:
    """Find what makes the server refuse tokens that the token service makes."""
    chain = f"with up to {sts.max_actors} actors, as sts.max_actors says"
    needs_key = own.proof is Need.REQUIRED and sts.bind is Binding.NONE
    for key, is_refused, what in (
        ("max_actors", own.max_actors < sts.max_actors, chain),
        ("max_lifetime", own.max_lifetime < sts.lifetime, "that live longer, as sts.lifetime says"),
        ("typ", f"application/{TOKEN_TYPE}" not in own.media_types, f"of type {TOKEN_TYPE}"),
        ("scope_claim", own.scope_claim != "scope", "with their scopes in scope"),
        ("proof", needs_key, "bound to no key, as sts.bind says"),
    ):
        if is_refused:
            message = f"the token service makes tokens {what}, which this does not accept"
            yield (*place, key), message


def _of_id_tokens(sts: TokenServiceSettings) -> Warnings:
    """Find clients whose ID tokens no rule takes."""
    listed = {sts.issuer, *(name for rule in sts.rules for name in rule.subject_audiences)}
    for at, each in enumerate(sts.id_tokens):
        for number, client in enumerate(each.client_ids):
            if client not in listed:
                message = "no rule has this client in subject_audiences, so that its ID tokens get"
                yield ("sts", "id_tokens", at, "client_ids", number), f"{message} no token"


def _of_rule(config: Config, place: Place, rule: TokenRuleSettings) -> Warnings:
    """Find what keeps a rule from ever giving a token, or a scope."""
    known = [SpiffePattern.parse(agent.id) for agent in config.agents if not agent.suspended]
    for name, texts in (("agents", rule.agents), ("via", rule.via)):
        for number, text in enumerate(texts):
            if not any(map(SpiffePattern.parse(text).overlaps, known)):
                message = "no entry of agents matches it, or it is suspended: it gets no token"
                if name == "via":
                    message = "no entry of agents matches it, so no token names it as the actor"
                yield (*place, name, number), message
    named = {
        scope for rules in config.grants.values() for each in rules for scope in each.scopes or ()
    }
    for number, scope in enumerate(rule.scopes):
        if scope not in named and ANY not in named:
            message = "no rule of grants names this scope, so no token of this rule has it"
            yield (*place, "scopes", number), message


def _of_consent(config: Config, place: Place, rule: TokenRuleSettings) -> Warnings:
    """Find a rule that asks for consents which nothing keeps."""
    if config.consents.file is not None or config.store is not None:
        return
    message = "nothing keeps consents, so it gives no token: set consents.file, or a store"
    if rule.consent is ConsentNeed.REQUIRED:
        yield (*place, "consent"), message
    if rule.authorization_details:
        yield (*place, "authorization_details"), message
