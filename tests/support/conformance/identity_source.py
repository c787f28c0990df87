"""What every identity source must do: what a profile's ``identity`` names."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from authz.core.decision import Agent
from authz.core.identity import ProfileSettings
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.identity.settings import DEFAULT
from authz.core.identity.sources import SOURCES
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from lab.ca import Authority, Svid
from lab.mesh import GATEWAY, PAYMENTS, TRAVEL, TRUST_DOMAIN

EMPTY: Final = Request("GET", "mcp.corp.example", "/finance/balance")
# What a client may write into any request: a proxy passes it on as it came.
FORGED_HEADERS: Final = (
    ("x-forwarded-client-cert", f"URI={PAYMENTS}"),
    ("x-forwarded-client-cert", f"By=spiffe://{TRUST_DOMAIN}/ns/nobody/sa/x;URI={PAYMENTS}"),
    ("x-spiffe-id", PAYMENTS),
    ("x-agent-id", PAYMENTS),
    ("x-client-cert", PAYMENTS),
)
# Every part of a request in which a source could look, with what names another agent there.
ELSEWHERE: Final[Mapping[str, Mapping[str, Any]]] = {
    "principal": {"principal": PAYMENTS},
    "certificate": {"certificate": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"},
    "header:x-forwarded-client-cert": {
        "headers": (("x-forwarded-client-cert", f"By={GATEWAY};URI={PAYMENTS}"),)
    },
    "header": {"headers": (("x-spiffe-id", PAYMENTS), ("x-agent-id", PAYMENTS))},
    "metadata": {"metadata": (("some.namespace", PAYMENTS.encode()),)},
    "context": {"context": (("spiffe_id", PAYMENTS), ("agent", PAYMENTS))},
    "path": {"path": f"/{PAYMENTS}"},
    "host": {"host": "payments.corp.example"},
    "method": {"method": "POST"},
    "proxy": {"proxy": GATEWAY},
}


class IdentitySourceConformance(ABC):
    """The clauses, each through ``AgentAuthenticator``, as the server uses a source.

    Not guaranteed: that the agent is registered, not suspended, or the one that the token names;
    and that a proxy says the truth. A source is a pure function: it may be called by any thread,
    has no deadline, and nothing to close.

    Attributes:
        profile: names the source, and the proxies that it trusts.
        place: where the name stands, a key of ``ELSEWHERE``.
        attributes: what it reads of the proxy's own attributes, as keys of ``ELSEWHERE``.
    """

    profile: ProfileSettings
    place: str
    attributes: frozenset[str]

    @property
    def reads(self) -> frozenset[str]:
        """Return all that the source reads, headers as it declares them."""
        declared = SOURCES[self.profile.identity](self.profile).reads.all_headers
        return self.attributes | {f"header:{name}" for name in declared}

    @abstractmethod
    def naming(self, svid: Svid) -> Request:
        """Return a request in which the proxy names the caller with that certificate here.

        It is also the certificate in ``source.certificate`` where the proxy sends both.
        """

    @abstractmethod
    def unreadable(self, svid: Svid) -> Mapping[str, Request]:
        """Return requests that name nobody who could be meant, by what is wrong with them."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        """Who issues certificates."""
        return Authority(tmp_path)

    @pytest.fixture
    def svid(self, authority: Authority) -> Svid:
        """The caller's certificate."""
        return authority.issue(TRAVEL)

    def identified(self, request: Request) -> Agent | Reason:
        """Return the agent, or why there is none."""
        identity = AgentAuthenticator((TRUST_DOMAIN,), {DEFAULT: self.profile})
        try:
            return identity.identify(request, time.time())
        except Denied as denied:
            return denied.reason

    def test_who_is_named(self, svid: Svid) -> None:
        """The caller is whom the proxy names, and the same request gives the same agent again."""
        request = self.naming(svid)
        agent = self.identified(request)

        assert isinstance(agent, Agent)
        assert agent.spiffe_id.text == TRAVEL
        assert self.identified(request) == agent

    def test_nobody_is_named(self) -> None:
        """Where the proxy says nothing the caller is missing: never a default, never a guess."""
        assert self.identified(EMPTY) is Reason.AGENT_MISSING

    def test_what_cannot_be_read(self, svid: Svid) -> None:
        """What is there and can't be meant is invalid, and not absent: no other place is tried."""
        found = {why: self.identified(one) for why, one in self.unreadable(svid).items()}

        assert found == dict.fromkeys(found, Reason.AGENT_INVALID)
        assert found

    def test_another_trust_domain(self, authority: Authority) -> None:
        """An agent of a domain that the config does not have is none."""
        stranger = authority.issue("spiffe://other.example/a")

        assert self.identified(self.naming(stranger)) is Reason.AGENT_UNTRUSTED_DOMAIN

    def test_a_principal_that_says_otherwise(self, svid: Svid) -> None:
        """Where ``source.principal`` names another caller, the request is refused."""
        request = msgspec.structs.replace(self.naming(svid), principal=PAYMENTS)

        assert self.identified(request) is Reason.IDENTITY_CONFLICT

    def test_a_certificate_that_says_otherwise(self, authority: Authority, svid: Svid) -> None:
        """Where ``source.certificate`` is another's, the caller is refused or the one it was.

        It is the one it was where that certificate can be the proxy's own.
        """
        if self.place == "certificate":
            pytest.skip("it is who the caller is")
        other = authority.issue(PAYMENTS).url_encoded
        found = self.identified(msgspec.structs.replace(self.naming(svid), certificate=other))

        assert found is Reason.IDENTITY_CONFLICT or found == self.identified(self.naming(svid))

    def test_a_header_that_the_client_wrote(self, svid: Svid) -> None:
        """It makes nobody anyone: not where the proxy is silent, and not beside what it says."""
        named = self.naming(svid)
        for forged in FORGED_HEADERS:
            alone = msgspec.structs.replace(EMPTY, headers=(forged,))
            beside = msgspec.structs.replace(named, headers=(*named.headers, forged))
            found = self.identified(beside)

            assert isinstance(self.identified(alone), Reason)
            assert isinstance(found, Reason) or found.spiffe_id.text == TRAVEL

    @pytest.mark.parametrize("part", ELSEWHERE)
    def test_what_it_does_not_declare(self, svid: Svid, part: str) -> None:
        """What it says not to read changes nothing, whoever is named there."""
        if part in self.reads:
            pytest.skip("the source reads it")
        for request in (self.naming(svid), EMPTY):
            changes = dict(ELSEWHERE[part])
            if "headers" in changes:
                changes["headers"] = (*request.headers, *changes["headers"])
            if "metadata" in changes:
                changes["metadata"] = (*request.metadata, *changes["metadata"])
            assert self.identified(msgspec.structs.replace(request, **changes)) == (
                self.identified(request)
            )
