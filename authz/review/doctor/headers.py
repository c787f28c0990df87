"""Finds headers that a proxy merges, leaves out, or lets through from clients."""

import re
from collections.abc import Iterator
from typing import Final

from authz.adapters.assertions import assertion_header
from authz.edge.header_settings import owned_headers
from authz.edge.identity_headers import names_read_alike
from authz.review.doctor.case import Case, Finding

_PLAIN: Final = re.compile(r":?[a-z0-9-]+")
# One of them is in every request of Envoy that no allowed_headers cuts.
_ALWAYS: Final = frozenset({":authority", ":path", ":method"})
_FOLDED: Final = re.compile(r"[^a-z0-9]")


def header_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the headers."""
    yield from _joined(case)
    yield from _limited(case)
    yield from _odd(case)
    yield from _identities(case)


def _joined(case: Case) -> Iterator[Finding]:
    if case.seen.headers.form == "joined" and not case.is_of_agentgateway:
        yield case.warning(
            "headers_joined",
            "the occurrences of a header came joined to one text: what the upstream sees as two "
            "values is decided on as one",
            envoy="the ext_authz filter needs encode_raw_headers: true",
            istio="it has no such setting; an EnvoyFilter can add encode_raw_headers: true",
            envoy_gateway="it has no such setting; an EnvoyPatchPolicy can add "
            "encode_raw_headers: true",
        )


def _limited(case: Case) -> Iterator[Finding]:
    headers = case.seen.headers
    if not case.is_ext_authz or case.is_of_agentgateway or _ALWAYS & {*headers.names}:
        return
    yield case.warning(
        "headers_limited",
        f"only {headers.count} headers came, without {', '.join(sorted(_ALWAYS))}: the proxy sends "
        "a selection, so that rules and twins of our names see only that",
        envoy="leave allowed_headers and disallowed_headers out of the ext_authz filter",
        istio="includeRequestHeadersInCheck is for envoyExtAuthzHttp: use envoyExtAuthzGrpc",
        envoy_gateway="leave headersToExtAuth out of SecurityPolicy extAuth: with gRPC, all are "
        "sent then",
    )


def _odd(case: Case) -> Iterator[Finding]:
    odd = [name for name in case.seen.headers.names if not _PLAIN.fullmatch(name)]
    if odd:
        yield case.warning(
            "header_names",
            f"headers with unusual names came from the client ({', '.join(odd[:4])}): many servers "
            'take "_" and other characters for "-", so that one name has several spellings',
            envoy="headers_with_underscores_action: REJECT_REQUEST, and an "
            "early_header_mutation that removes other names, as in envoy.yaml",
            istio="set headers_with_underscores_action: REJECT_REQUEST by an EnvoyFilter",
            envoy_gateway="ClientTrafficPolicy headers.withUnderscoresAction: RejectRequest",
            agentgateway="remove them by requestHeaderModifier",
        )


def _identities(case: Case) -> Iterator[Finding]:
    prefix, names = case.config.headers.prefix, case.seen.headers.names
    folded = _FOLDED.sub("-", prefix)
    assertion = assertion_header(case.config.assertions, prefix)
    ours = names_read_alike(names, {*owned_headers(prefix), *filter(None, [assertion])})
    ours |= {name for name in names if _FOLDED.sub("-", name).startswith(folded)}
    if ours:
        yield case.warning(
            "identity_headers",
            f"the client sent identity headers ({', '.join(sorted(ours)[:4])}): our answer "
            "replaces them, but nothing removes them where no check runs",
            envoy="remove them by early_header_mutation_extensions, as in envoy.yaml",
            istio="remove them at the ingress gateway, or by an EnvoyFilter before routing",
            envoy_gateway="ClientTrafficPolicy headers.earlyRequestHeaders.remove",
            agentgateway="remove them by requestHeaderModifier on each route",
        )
