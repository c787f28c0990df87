"""Profiles for agents that connect directly and through a proxy, held to a model of their own.

The model is the promise in short: the connection decides. Another trusted proxy's connection tells
the agent by the header; anybody else's is its own; and none is nobody's.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.identity import ProfileSettings
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.identity.settings import Source
from authz.core.reason import Denied, Reason
from authz.core.request import XFCC, Request
from lab.ca import Authority, Svid
from lab.mesh import GATEWAY, PAYMENTS, TRAVEL

SIDECAR: Final = "spiffe://corp.example/ns/tools/sa/ledger"
TRUSTED: Final = frozenset({GATEWAY, SIDECAR})
BELOW: Final = f"{GATEWAY}/x"  # another's name, which begins like the gateway's
AGENTS: Final = frozenset({TRAVEL, PAYMENTS, BELOW, *TRUSTED})  # who may be established at all
# Names of connections that look like a proxy's, and are not.
ALMOST: Final = (
    GATEWAY.replace("corp.example", "other.example"),
    BELOW,
    f"{GATEWAY}/",
    f" {GATEWAY}",
    GATEWAY.replace("spiffe:", "SPIFFE:"),
    f"{GATEWAY}?x",
    "edge.gateways.corp.example",
    "CN=edge",
)
NAMES: Final = (TRAVEL, PAYMENTS, GATEWAY, SIDECAR)
GARBAGE: Final = ("", "x", f"URI={PAYMENTS}", f"By={GATEWAY}", f"By={GATEWAY};URI={PAYMENTS};URI=")


@dataclass(frozen=True)
class Seen:
    """What the proxy says: whose the connection is, its certificate's name, and the elements."""

    principal: str
    certificate: str
    elements: tuple[tuple[str, str], ...]

    @property
    def header(self) -> str:
        """The header, each element by its writer and the name that it saw."""
        return ",".join(f"By={by};URI={uri}" for by, uri in self.elements)


def model(seen: Seen, hops: int) -> str:
    """Return who calls, "" for nobody."""
    if seen.principal not in TRUSTED or is_own(seen):
        is_proven = seen.certificate in ("", seen.principal)
        return seen.principal if seen.principal in AGENTS and is_proven else ""
    if len(seen.elements) != hops or seen.certificate not in ("", seen.principal):
        return ""
    writers = {by for by, _ in seen.elements} | {uri for _, uri in seen.elements[1:]}
    return seen.elements[0][1] if writers <= TRUSTED else ""


def is_own(seen: Seen) -> bool:
    """Tell whether the connection has the ID of the proxy that wrote last."""
    return bool(seen.elements) and seen.elements[-1][0] == seen.principal


def profile(hops: int = 2, *, direct: bool = True) -> ProfileSettings:
    """A profile of a sidecar behind a gateway."""
    proxies = ("spiffe://corp.example/ns/gateways/sa/*", SIDECAR)
    return ProfileSettings(identity=Source.XFCC, hops=hops, trusted_proxies=proxies, direct=direct)


def identified(settings_: ProfileSettings, request: Request) -> str | Reason:
    """Return who calls, or why nobody does."""
    identity = AgentAuthenticator(("corp.example",), {"default": settings_})
    try:
        return identity.identify(request, time.time()).spiffe_id.text
    except Denied as denied:
        return denied.reason


@pytest.fixture(scope="module")
def svids(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Svid]:
    """A certificate of each name."""
    authority = Authority(tmp_path_factory.mktemp("direct"))
    return {name: authority.issue(name) for name in NAMES}


def request_of(svids: dict[str, Svid], seen: Seen, header: str | None = None) -> Request:
    """Make the request, with another header if one is given."""
    text = seen.header if header is None else header
    return Request(
        "GET",
        "mcp.corp.example",
        "/finance/balance",
        headers=((XFCC, text),) if text else (),
        principal=seen.principal,
        certificate=svids[seen.certificate].url_encoded if seen.certificate else "",
    )


SEEN: Final = st.builds(
    Seen,
    principal=st.sampled_from(["", *NAMES, *NAMES, *ALMOST]),
    certificate=st.sampled_from(["", "", *NAMES]),
    elements=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=3).map(
        tuple
    ),
)


@given(seen=SEEN, hops=st.sampled_from([1, 2]))
@settings(max_examples=400)
def test_the_connection_decides(svids: dict[str, Svid], seen: Seen, hops: int) -> None:
    """Whoever connects and whatever is forged: the agent is the model's, or there is none."""
    found = identified(profile(hops), request_of(svids, seen))

    assert (found if isinstance(found, str) and not isinstance(found, Reason) else "") == model(
        seen, hops
    )


@given(seen=SEEN, header=st.sampled_from(GARBAGE) | st.text(max_size=40))
@settings(max_examples=150)
def test_an_own_connection_has_no_header(svids: dict[str, Svid], seen: Seen, header: str) -> None:
    """On a connection that is no trusted proxy's, no header changes anything."""
    if seen.principal in TRUSTED:
        return
    without = identified(profile(), request_of(svids, seen, ""))

    assert identified(profile(), request_of(svids, seen)) == without
    assert identified(profile(), request_of(svids, seen, header)) == without
    if not seen.principal:
        assert without is Reason.AGENT_MISSING


@given(seen=SEEN, hops=st.sampled_from([1, 2]))
@settings(max_examples=150)
def test_a_trusted_proxy_is_heard_as_ever(svids: dict[str, Svid], seen: Seen, hops: int) -> None:
    """On another trusted proxy's connection the answer is that without ``direct``."""
    if seen.principal not in TRUSTED or is_own(seen):
        return
    request = request_of(svids, seen)

    assert identified(profile(hops), request) == identified(profile(hops, direct=False), request)


@pytest.mark.parametrize("hops", [1, 2])
def test_the_workload_behind_the_proxy_names_nobody(hops: int) -> None:
    """With the proxy's own ID, which is listed as a writer, one is oneself: not who one names."""
    forged = f"By={GATEWAY};URI={TRAVEL}"
    appended = f"{forged},By={SIDECAR};URI={SIDECAR}"
    request = Request("GET", "h", "/", headers=((XFCC, appended),), principal=SIDECAR)

    assert identified(profile(hops), request) == SIDECAR


def test_the_certificate_is_the_connections(tmp_path: Path) -> None:
    """A direct agent's certificate is its connection's, whatever Hash and Cert the header has."""
    svid = Authority(tmp_path).issue(TRAVEL)
    identity = AgentAuthenticator(("corp.example",), {"default": profile()})
    header = f"By={SIDECAR};Hash={'a1' * 32};Cert=x;URI={TRAVEL}"
    bare = Request("GET", "h", "/", headers=((XFCC, header),), principal=TRAVEL)
    shown = Request(
        "GET", "h", "/", headers=bare.headers, principal=TRAVEL, certificate=svid.url_encoded
    )

    assert identity.identify(bare, time.time()).thumbprint == ""
    agent = identity.identify(shown, time.time())
    assert (agent.thumbprint, agent.expires_at) == (
        identity.identify(
            Request("GET", "h", "/", principal=TRAVEL, certificate=svid.url_encoded), time.time()
        ).thumbprint,
        svid.certificate.not_valid_after_utc.timestamp(),
    )
