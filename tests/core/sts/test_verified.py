"""A server that trusts the token service accepts its tokens, hop by hop, bound by certificate."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from authz.core.decision import Agent, Delegation, Mode
from authz.core.delegation.verifier import DelegationVerifier
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.routes import Route
from authz.core.spiffe import SpiffeId
from authz.core.spiffe.svid import checked_svid
from lab.ca import Authority
from support.token_service import (
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    HOTEL,
    ID,
    ORCHESTRATOR,
    STS,
    TRAVEL,
    Service,
)


@dataclass(frozen=True)
class Hops:
    """A service, agents with certificates, and the tokens of a chain, each agent's own."""

    service: Service
    agents: dict[str, Agent]
    tokens: dict[str, str]

    def verify(self, agent: Agent, token: str, audience: str) -> Delegation:
        """Verify a token as the server at an audience does, sent by an agent."""
        config = self.service.config
        verifier = DelegationVerifier(
            config.token, config.issuers, self.service.keys, self.service.proofs
        )
        headers = (("authorization", f"Bearer {token}"),)
        request = Request("GET", audience.removeprefix("https://"), "/", headers)
        route = Route(name=audience, audiences=frozenset({audience}))
        return verifier.verify(request, agent, route, self.service.now)


@pytest.fixture(scope="module")
def hops(tmp_path_factory: pytest.TempPathFactory) -> Hops:
    """From an ID token: the orchestrator's, the travel agent's and the hotel agent's tokens."""
    service = Service()
    authority = Authority(tmp_path_factory.mktemp("pki"))
    agents = {name: _agent(authority, name) for name in (ORCHESTRATOR, TRAVEL, HOTEL)}
    first = service.issue(agents[ORCHESTRATOR], service.id_token(), ID, audience=AT_TRAVEL)
    tokens = {ORCHESTRATOR: service.sign(first)}
    second = service.issue(agents[TRAVEL], tokens[ORCHESTRATOR], audience=AT_HOTEL)
    tokens[TRAVEL] = service.sign(second)
    third = service.issue(agents[HOTEL], tokens[TRAVEL], audience=AT_ORDERS)
    tokens[HOTEL] = service.sign(third)
    return Hops(service, agents, tokens)


HOPS = ((ORCHESTRATOR, AT_TRAVEL), (TRAVEL, AT_HOTEL), (HOTEL, AT_ORDERS))


@pytest.mark.parametrize(("agent", "audience"), HOPS)
def test_each_hop_is_accepted(hops: Hops, agent: str, audience: str) -> None:
    """The principal stays who she is, and the chain names all agents so far."""
    delegation = hops.verify(hops.agents[agent], hops.tokens[agent], audience)

    assert (delegation.issuer, delegation.subject, delegation.mode) == (STS, "alice", Mode.ACT)
    so_far = [name for name, _ in HOPS][: [name for name, _ in HOPS].index(agent) + 1]
    assert [actor.subject for actor in delegation.actors] == so_far[::-1]


def test_each_hop_has_less(hops: Hops) -> None:
    """No hop's scopes or end are beyond those of the hop before."""
    found = [hops.verify(hops.agents[name], hops.tokens[name], at) for name, at in HOPS]
    for before, after in pairwise(found):
        assert after.scopes <= before.scopes
        assert after.expires_at <= before.expires_at
    assert found[-1].scopes == {"hotels:book"}


@pytest.mark.parametrize(("agent", "audience"), HOPS)
def test_nobody_else_may_use_it(hops: Hops, agent: str, audience: str, tmp_path: Path) -> None:
    """Neither another agent, nor the agent itself with another certificate, nor another server."""
    token = hops.tokens[agent]
    other = next(name for name in hops.agents if name != agent)
    with pytest.raises(Denied) as refused:
        hops.verify(hops.agents[other], token, audience)
    assert refused.value.reason is Reason.ACTOR_MISMATCH
    with pytest.raises(Denied) as refused:
        hops.verify(_agent(Authority(tmp_path), agent), token, audience)
    assert refused.value.reason is Reason.CNF_MISMATCH
    elsewhere = next(at for _, at in HOPS if at != audience)
    with pytest.raises(Denied) as refused:
        hops.verify(hops.agents[agent], token, elsewhere)
    assert refused.value.reason is Reason.TOKEN_AUDIENCE


def _agent(authority: Authority, name: str) -> Agent:
    """Return an agent as its certificate proves it."""
    svid = checked_svid(authority.issue(name).url_encoded, time.time(), "the certificate")
    return Agent(SpiffeId.parse(name), svid.thumbprint, svid.not_after)
