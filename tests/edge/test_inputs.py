"""What a Request holds, what records keep and what clients may not set, from what is declared."""

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from google.protobuf.struct_pb2 import Struct

from authz.core.conditions.facts import WITHHELD_HEADERS
from authz.core.decision import Agent, Allow
from authz.core.delegation import TokenSettings
from authz.core.delegation.credential import token_reads
from authz.core.identity import ProfileSettings
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.identity.evidence import Evidence, IdentitySource
from authz.core.identity.settings import AGENTGATEWAY, Source
from authz.core.identity.sources import IDENTITY_HEADERS, SOURCES
from authz.core.policy.policy import Policy
from authz.core.reads import NOTHING, Reads
from authz.core.reason import Denied
from authz.core.request import XFCC, Request
from authz.core.routes import Route
from authz.core.spiffe import SpiffeId
from authz.edge.agentgateway.reader import read_request
from authz.edge.envoy.reader import read_check
from authz.edge.inputs import RequestInputs
from authz.wiring.policy import build_policy
from authz.wiring.snapshot import Lookups, build_delegations, build_inputs, build_reads
from lab.config_builder import AT_READ_RULE, LAB
from lab.dpop import DpopClient
from lab.mesh import TRAVEL
from support.ext_mcp import request as mcp_request
from support.reading import WatchedRequest, only
from support.world import BALANCE, HOST, World, check_request, reason_of

EDGE = "spiffe://corp.example/ns/gateways/sa/edge"
# One profile of each source.
PROFILES: Mapping[Source, ProfileSettings] = {
    Source.PRINCIPAL: ProfileSettings(),
    Source.CERTIFICATE: ProfileSettings(identity=Source.CERTIFICATE),
    Source.METADATA: ProfileSettings(identity=Source.METADATA),
    Source.XFCC: ProfileSettings(identity=Source.XFCC, trusted_proxies=(EDGE,)),
}
# How the agent is written in a header, where its SPIFFE ID alone is not enough.
WRITTEN = {XFCC: f"By={EDGE};URI={TRAVEL}"}
HEADER_RULE = LAB.with_((*AT_READ_RULE, "headers"), {"x-env": ["prod"]})


def struct(**members: str) -> bytes:
    """A serialised Struct."""
    message = Struct()
    message.update(members)
    return message.SerializeToString()


def identified(world: World) -> Request:
    """A request in which every place names the agent, where an identity may stand."""
    return Request(
        "GET",
        HOST,
        BALANCE,
        headers=tuple((name, WRITTEN.get(name, TRAVEL)) for name in sorted(IDENTITY_HEADERS)),
        principal=TRAVEL,
        certificate=world.svid.url_encoded,
        metadata=((AGENTGATEWAY, struct(spiffe_id=TRAVEL)), ("other", struct(spiffe_id=EDGE))),
    )


def claimed(source: IdentitySource, request: Request) -> object:
    """Who calls by a source, or why nobody can tell."""
    try:
        return source.claimed(Evidence(request, time.time()))
    except Denied as denied:
        return denied.reason, denied.detail


def test_every_identity_source_has_an_example() -> None:
    """A new source is one of the profiles' and tested here, or this fails."""
    below = [one for one in IdentitySource.__subclasses__() if one.__module__.startswith("authz.")]

    assert set(SOURCES) == set(Source) == set(PROFILES)
    assert {one.__qualname__ for one in SOURCES.values()} == {one.__qualname__ for one in below}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_read_what_they_declare(shared_world: World, name: Source) -> None:
    """A source looks for no header that it does not declare as an identity, and finds the agent.

    Without what it does not declare it says the same, and without what it declares nothing.
    """
    source = SOURCES[name](PROFILES[name])
    request = identified(shared_world)
    watched = WatchedRequest.of(request)
    found = claimed(source, watched)
    less = only(request, source.reads)

    assert source.reads.all_headers == source.reads.identities == source.headers
    assert watched.looked_for == source.headers
    assert getattr(found, "name", None) == TRAVEL
    assert claimed(source, less) == found
    if source.reads:
        bare = msgspec.structs.replace(request, headers=(), metadata=())
        assert not hasattr(claimed(source, bare), "name")


@pytest.mark.parametrize("name", SOURCES)
def test_profiles_read_what_their_sources_declare(name: Source) -> None:
    """What all profiles read is what their sources declare, and no other source's."""
    profile = PROFILES[name]

    assert (
        AgentAuthenticator(["corp.example"], {"a": profile}).reads == SOURCES[name](profile).reads
    )


def test_tokens_read_what_they_declare(shared_world: World) -> None:
    """Bearer tokens and DPoP proofs are found in the headers that are declared as credentials."""
    config = shared_world.config
    reads = token_reads(config.token)
    step = build_delegations(config, Lookups(shared_world.keys))
    client = DpopClient()
    bound = shared_world.token(cnf=client.confirmation)
    origin = "https://mcp.corp.example"
    proof = client.proof(bound, "GET", origin + BALANCE)
    of_bearer = (("authorization", f"Bearer {shared_world.token()}"),)
    of_proof = (("authorization", f"DPoP {bound}"), ("dpop", proof))
    for headers in (of_bearer, of_proof):
        watched = WatchedRequest.of(Request("GET", HOST, BALANCE, headers))
        agent = Agent(SpiffeId.parse(TRAVEL))
        found = step.verify(watched, agent, Route(origin=origin), time.time())

        assert found.subject == "alice"
        assert watched.looked_for == reads.credentials == reads.all_headers


def test_the_pipeline_reads_what_its_steps_declare(tmp_path: Path) -> None:
    """A whole decision looks for no header that is not declared."""
    with World(tmp_path, HEADER_RULE) as world:
        headers = (("authorization", f"Bearer {world.token()}"), ("x-env", "prod"))
        request = msgspec.structs.replace(identified(world), headers=headers, metadata=())
        watched = WatchedRequest.of(request)
        decision = world.service.snapshot.authorizer.decide(watched, time.time())
        reads = build_reads(world.config, [build_policy(world.config)])

        assert isinstance(decision, Allow)
        assert watched.looked_for == {"dpop", "x-env"}  # the memory of tokens takes all headers
        assert reads.all_headers == {"authorization", "dpop", "x-env"}


@pytest.mark.parametrize("name", SOURCES)
def test_a_request_holds_what_is_declared(shared_world: World, name: Source) -> None:
    """Of all headers and metadata that come, a Request has what is declared, and nothing else."""
    config = shared_world.config.model_copy(update={"profiles": {"a": PROFILES[name]}})
    reads = build_reads(config, [build_policy(config)])
    sent = sorted(reads.all_headers | IDENTITY_HEADERS | {"x-other"})
    message = check_request(None, [(one, "x") for one in sent])
    for namespace in (AGENTGATEWAY, "other"):
        message.attributes.metadata_context.filter_metadata[namespace] = b"x"
    request = read_check(build_inputs(config, [build_policy(config)]), message).request

    assert {key for key, _ in request.headers} == reads.all_headers
    assert {key for key, _ in request.metadata} == reads.namespaces
    assert reads.identities == SOURCES[name].headers


def test_no_record_has_a_credential_or_an_identity() -> None:
    """A header that is read as a credential or as an identity is in no record, whoever reads it."""
    reads = Reads(
        headers=frozenset({"a", "token", "caller"}),
        credentials=frozenset({"token"}),
        identities=frozenset({"caller"}),
    )

    assert reads.recorded == {"a"}
    assert reads.all_headers == {"a", "token", "caller"}


def test_records_have_what_rules_read(tmp_path: Path) -> None:
    """The header of a rule and the claims of matches are in records; the token is not."""
    with World(tmp_path, HEADER_RULE) as world:
        token = world.token()
        headers = [("authorization", f"Bearer {token}"), ("x-env", "prod"), ("x-other", "y")]
        assert reason_of(world.check(check_request(world.svid, headers))) == "allow"
        record = world.audit_records()[-1]

        assert record["headers"] == {"x-env": "prod"}
        assert set(record["claims"]) <= build_policy(world.config).reads.claims


@pytest.mark.parametrize("name", sorted(IDENTITY_HEADERS))
def test_no_client_sets_an_identity_behind_a_gateway(name: str) -> None:
    """A header that is an identity under any profile is not taken from an MCP client."""
    headers = [(name, "a"), (name.upper(), "b"), ("x-env", "prod")]
    inputs = RequestInputs(frozenset({name, "x-env"}))
    message = mcp_request("tools/list", token=None, headers=headers)
    (check,) = read_request(inputs, message, "0" * 32).checks.values()
    names = {key for key, _ in check.request.headers}

    assert name not in names
    assert "x-env" in names


def test_conditions_read_no_credential_and_no_identity() -> None:
    """Whatever identity or the token reads is withheld from conditions."""
    assert IDENTITY_HEADERS | token_reads(TokenSettings()).credentials <= WITHHELD_HEADERS


def test_an_undeclared_header_is_a_refusal(tmp_path: Path) -> None:
    """A rule that reads a header which it forgot to declare allows nothing, at the edge."""
    with World(tmp_path, HEADER_RULE) as world:
        policy = world.service.snapshot.authorizer.policy
        assert isinstance(policy, Policy)
        policy.reads = NOTHING

        assert reason_of(world.ask(world.token())) == "internal_error"
