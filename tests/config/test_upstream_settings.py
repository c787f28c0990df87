"""What upstreams get, in the config: what authz check says of what could not be obtained."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from authz.config import ConfigError, load_text
from lab.config_builder import AT_READ_RULE, LAB, ConfigBuilder
from lab.mesh import CONFIG

GIVEN: Final[dict[str, Any]] = {
    "issuer": "https://authz.corp.example",
    "keys": [{"file": "key.pem"}],
    "insecure": True,
}
ROUTE: Final = ("routes", "finance")
ASSERT: Final = LAB.with_((*ROUTE, "upstream_token"), "assert")


def problems(changes: ConfigBuilder) -> str:
    """What is told of the lab's config with changes; "" if it is valid."""
    text = CONFIG.format(
        socket="/s", admin_port=1, drain="1s", jwks_uri="http://127.0.0.1:1/jwks", audit="a.jsonl"
    )
    try:
        load_text(changes.edit(text).encode(), "test.yaml")
    except ConfigError as error:
        return str(error)
    return ""


def with_section(changes: ConfigBuilder = ASSERT, **given: Any) -> ConfigBuilder:
    """A config with the section, with other values; None leaves one out."""
    made = {name: value for name, value in {**GIVEN, **given}.items() if value is not None}
    return changes.with_(("assertions",), made)


GOOD: Final[Mapping[str, ConfigBuilder]] = {
    "the resource is the audience": with_section(),
    "another header": with_section(header="x-decision"),
    "an audience, and scopes": with_section(
        ASSERT.with_((*ROUTE, "assertion"), {"audience": "ledger", "scopes": ["balance:read"]})
    ),
    "no route has them yet": with_section(LAB),
}
BAD: Final[Mapping[str, tuple[ConfigBuilder, str]]] = {
    "no section": (ASSERT, "routes[0].upstream_token: assert needs the section assertions"),
    "no audience": (
        with_section(ASSERT.without((*ROUTE, "resource")).with_((*ROUTE, "audiences"), ["x"])),
        "assert needs resource, or audience of assertion",
    ),
    "of another kind": (
        LAB.with_((*ROUTE, "assertion"), {"audience": "x"}),
        "routes[0].assertion: it is only for upstream_token: assert",
    ),
    "no target": (
        LAB.with_((*ROUTE, "upstream_token"), "exchange"),
        "upstream_token: exchange needs exchange",
    ),
    "nothing asked for": (
        LAB.with_((*ROUTE, "upstream_token"), "exchange").with_(
            (*ROUTE, "exchange"), {"issuer": "https://as.corp.example"}
        ),
        "routes[0].exchange.audience: audience or resource is required",
    ),
    "a blank in a name": (
        with_section(ASSERT.with_((*ROUTE, "assertion"), {"audience": "a b"})),
        "it must be a URL or a name, without blanks and quotes",
    ),
    "a proxy's kind": (
        LAB.with_profile("p", "{upstream_token: assert}"),
        "must be 'strip' or 'forward'",
    ),
    "the token's header": (
        with_section(header="authorization"),
        "assertions.header: authorization carries the client's token",
    ),
    "an identity header": (
        with_section(header="x-agent-scope"),
        "assertions.header: x-agent-scope is one of the identity headers",
    ),
    "a removed header": (
        with_section(
            LAB.with_section("headers", "{remove: [x-auth-*]}"), header="x-auth-assertion"
        ),
        "assertions.header: headers.remove removes x-auth-assertion",
    ),
    "a rule's header": (
        with_section(LAB.with_((*AT_READ_RULE, "add_headers"), {"x-agent-assertion": "groups"})),
        "assertions: a rule gives the upstream x-agent-assertion in add_headers",
    ),
    "a header of requests": (with_section(header="host"), "requests have another use for it"),
    "a header of proxies": (
        with_section(header="x-forwarded-client-cert"),
        "requests have another use for it",
    ),
    "tokens as identities": (
        LAB.with_section("token", "{header: x-agent-principal}"),
        "token.header: x-agent-principal is one of the identity headers",
    ),
    "exchanged tokens in the way": (
        LAB.with_section("token", "{header: dpop}")
        .with_((*ROUTE, "upstream_token"), "exchange")
        .with_((*ROUTE, "exchange"), {"issuer": "https://as.corp.example", "audience": "a"}),
        "token.header: exchanged tokens would take the place of dpop",
    ),
    "plain keys": (with_section(insecure=None), "assertions.tls: tls is required"),
    "a query": (with_section(issuer="https://a.example/?x"), "without query and fragment"),
    "plain issuer": (
        with_section(
            issuer="http://a.example",
            insecure=None,
            tls={"certificate": "c.pem", "private_key": "k.pem"},
        ),
        "assertions.issuer: must be an https:// URL",
    ),
    "too long": (with_section(lifetime="11m"), "assertions.lifetime"),
    "no key": (with_section(keys=None), "one of keys and make is required"),
}


@pytest.mark.parametrize("what", GOOD)
def test_accepted(what: str) -> None:
    """These are accepted as they are."""
    assert not problems(GOOD[what])


@pytest.mark.parametrize("what", BAD)
def test_refused(what: str) -> None:
    """What could never be given to an upstream, or would be set twice, is told with its place."""
    changes, told = BAD[what]

    assert told in problems(changes)
