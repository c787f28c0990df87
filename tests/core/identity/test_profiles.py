"""Profiles: where each kind of proxy puts the caller, and what it takes to believe it."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from google.protobuf.struct_pb2 import Struct

from authz._pb import ext_authz_pb2 as pb
from authz.config import ConfigError, load_text
from authz.edge import methods
from lab.ca import Svid
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.mesh import GATEWAY, PAYMENTS, STRANGER, TRAVEL, Mesh
from support.world import World, check_request, reason_of

WAYPOINT = "spiffe://corp.example/ns/istio-system/sa/waypoint"
SIDECAR = "spiffe://corp.example/ns/tools/sa/ledger"
PARTNER = "spiffe://partner.example/agents/p1"
NAMESPACE = "agentgateway.source"
PROFILES = f"""\
leaf: {{identity: certificate}}
waypoint: {{identity: xfcc, trusted_proxies: ["{WAYPOINT}"]}}
gateway: {{identity: xfcc, trusted_proxies: ["spiffe://corp.example/ns/gateways/sa/*"]}}
sidecar:
  identity: xfcc
  hops: 2
  trusted_proxies: ["spiffe://corp.example/ns/gateways/sa/*", "{SIDECAR}"]
both:
  identity: xfcc
  hops: 2
  direct: true
  trusted_proxies: ["spiffe://corp.example/ns/gateways/sa/*", "{SIDECAR}"]
meta: {{identity: metadata}}
partners: {{trust_domains: [partner.example]}}
istio: {{identity: xfcc, trusted_proxies: ["{WAYPOINT}"], callers: ["{WAYPOINT}"]}}
"""
CHANGES = (
    LAB.with_keys(("profiles",), PROFILES)
    .with_(("trust_domains",), ["corp.example", "partner.example"])
    .with_agents(f"[{{id: '{PARTNER}', grants: [public]}}]")
)


@pytest.fixture(scope="module")
def world_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with a profile of every kind."""
    with World(tmp_path_factory.mktemp("profiles"), CHANGES) as world:
        yield world


@dataclass(frozen=True)
class Sent:
    """What a proxy sends about the caller; a callable gets the world and the agent's SVID."""

    principal: str = ""
    xfcc: str | list[str] | Callable[[Svid], str] | None = None
    certificate: str | Callable[[World, Svid], str] = ""
    proxy: str = ""
    metadata: Any = None


def ask(world: World, profile: str, sent: Sent, *, raw: bool = True) -> str:
    """The reason for a good token of the travel agent, with the caller so presented."""
    svid = world.svid
    xfcc = sent.xfcc(svid) if callable(sent.xfcc) else sent.xfcc
    lines = xfcc if isinstance(xfcc, list) else [xfcc] if xfcc is not None else []
    certificate = sent.certificate(world, svid) if callable(sent.certificate) else sent.certificate
    token = world.token()
    headers = [("authorization", f"Bearer {token}")]
    headers.extend(("x-forwarded-client-cert", line) for line in lines)
    message = check_request(
        None,
        headers,
        principal=sent.principal,
        certificate=certificate,
        raw_headers=raw,
        context={"authz_profile": profile} if profile else {},
    )
    if sent.metadata is not None:
        data = sent.metadata(svid) if callable(sent.metadata) else sent.metadata
        message.attributes.metadata_context.filter_metadata[NAMESPACE] = data
    answer = methods.answer(
        world.authorization, message.SerializeToString(), lambda: 1.0, sent.proxy
    )
    return reason_of(pb.CheckResponse.FromString(answer))


def digest(svid: Svid) -> str:
    """SHA-256 of a certificate, as XFCC writes it."""
    return svid.certificate.fingerprint(hashes.SHA256()).hex()


def of(spiffe_id: str, **changes: Any) -> Callable[[World, Svid], str]:
    """A certificate of that ID, as Envoy sends it."""
    return lambda world, _: world.authority.issue(spiffe_id, **changes).url_encoded


def own(_: World, svid: Svid) -> str:
    """The agent's own certificate."""
    return svid.url_encoded


def cert_element(svid: Svid) -> str:
    """An element with hash and certificate."""
    pem = quote(svid.certificate_pem, safe="")
    return f'By={WAYPOINT};Hash={digest(svid)};Cert="{pem}";URI={TRAVEL}'


BY = f"By={WAYPOINT};URI={TRAVEL}"
XFCC: dict[str, tuple[str, Sent, str]] = {
    "waypoint": ("waypoint", Sent(xfcc=BY), "allow"),
    "waypoint, proxy known": ("waypoint", Sent(xfcc=BY, proxy=WAYPOINT), "allow"),
    "no By, proxy known": ("waypoint", Sent(xfcc=f"URI={TRAVEL}", proxy=WAYPOINT), "allow"),
    "another proxy": ("waypoint", Sent(xfcc=BY, proxy=GATEWAY), "agent_invalid"),
    "nothing says who wrote": ("waypoint", Sent(xfcc=f"URI={TRAVEL}"), "agent_invalid"),
    "no header": ("waypoint", Sent(), "agent_missing"),
    "an empty header": ("waypoint", Sent(xfcc=""), "agent_missing"),
    "no URI": ("waypoint", Sent(xfcc=f"By={WAYPOINT};Hash={'a' * 64}"), "agent_invalid"),
    "an empty URI": ("waypoint", Sent(xfcc=f"By={WAYPOINT};URI="), "agent_invalid"),
    "two URIs": ("waypoint", Sent(xfcc=f"{BY};URI={PAYMENTS}"), "agent_invalid"),
    "two elements": ("waypoint", Sent(xfcc=f"{BY},{BY}"), "agent_invalid"),
    "two lines": ("waypoint", Sent(xfcc=[BY, BY]), "agent_invalid"),
    "a forged one first": ("waypoint", Sent(xfcc=f"URI={PAYMENTS},{BY}"), "agent_invalid"),
    "not SPIFFE": ("waypoint", Sent(xfcc=f"By={WAYPOINT};URI=https://x/y"), "agent_invalid"),
    "an untrusted domain": (
        "waypoint", Sent(xfcc=f"By={WAYPOINT};URI=spiffe://evil.example/a"),
        "agent_untrusted_domain",
    ),
    "By of nobody": ("waypoint", Sent(xfcc=f"By=x;URI={TRAVEL}"), "agent_invalid"),
    "By of an agent": ("waypoint", Sent(xfcc=f"By={STRANGER};URI={TRAVEL}"), "agent_invalid"),
    "two Bys, one of nobody": ("waypoint", Sent(xfcc=f"By=x;{BY}"), "agent_invalid"),
    "another agent": ("waypoint", Sent(xfcc=f"By={WAYPOINT};URI={PAYMENTS}"), "actor_mismatch"),
    "comma in a name": (
        "waypoint", Sent(xfcc=f"By={WAYPOINT};URI=spiffe://corp.example/x,By=x;URI={TRAVEL}"),
        "agent_invalid",
    ),
    "behind a gateway": (
        "gateway", Sent(principal=GATEWAY, xfcc=f"By={GATEWAY};URI={TRAVEL}"), "allow",
    ),
    "behind a gateway without a name": (
        "gateway", Sent(principal=GATEWAY, xfcc=f"URI={TRAVEL}"), "allow",
    ),
    "behind an agent": ("gateway", Sent(principal=PAYMENTS, xfcc=f"URI={TRAVEL}"),
                        "identity_conflict"),
    "behind a name that is no ID": (
        "gateway", Sent(principal="CN=edge", xfcc=f"URI={TRAVEL}"), "identity_conflict",
    ),
    "the agent's own connection": (
        "gateway", Sent(principal=TRAVEL, xfcc=f"By={GATEWAY};URI={TRAVEL}", certificate=own),
        "allow",
    ),
    "own connection, expired": (
        "gateway", Sent(principal=TRAVEL, xfcc=f"By={GATEWAY};URI={TRAVEL}",
                        certificate=of(TRAVEL, starts_in_seconds=-100, lifetime_seconds=50)),
        "agent_invalid",
    ),
    "the gateway's certificate": (
        "gateway", Sent(principal=GATEWAY, xfcc=f"URI={TRAVEL}", certificate=of(GATEWAY)), "allow",
    ),
    "the gateway's, expired": (
        "gateway", Sent(principal=GATEWAY, xfcc=f"URI={TRAVEL}",
                        certificate=of(GATEWAY, starts_in_seconds=-100, lifetime_seconds=50)),
        "agent_invalid",
    ),
    "a gateway with another's certificate": (
        "gateway", Sent(principal=GATEWAY, xfcc=f"URI={TRAVEL}", certificate=own),
        "identity_conflict",
    ),
    "two hops": (
        "sidecar",
        Sent(principal=GATEWAY, xfcc=f"By={GATEWAY};URI={TRAVEL},By={SIDECAR};URI={GATEWAY}"),
        "allow",
    ),
    "two hops, one missing": (
        "sidecar", Sent(principal=GATEWAY, xfcc=f"By={SIDECAR};URI={GATEWAY}"), "agent_invalid",
    ),
    "two hops, the second not a proxy": (
        "sidecar",
        Sent(principal=PAYMENTS, xfcc=f"By={PAYMENTS};URI={TRAVEL},By={SIDECAR};URI={PAYMENTS}"),
        "identity_conflict",
    ),
    "two hops, forged by the agent": (
        "sidecar", Sent(principal=TRAVEL, xfcc=f"URI={PAYMENTS},By={SIDECAR};URI={TRAVEL}"),
        "identity_conflict",
    ),
    "hash and certificate": ("waypoint", Sent(xfcc=cert_element), "allow"),
    "hash of another": (
        "waypoint",
        Sent(xfcc=lambda svid: cert_element(svid).replace(digest(svid), "a1" * 32)),
        "identity_conflict",
    ),
    "certificate of another": (
        "waypoint", Sent(xfcc=lambda svid: cert_element(svid).replace(TRAVEL, PAYMENTS)),
        "identity_conflict",
    ),
    "certificate that is none": (
        "waypoint", Sent(xfcc=f'By={WAYPOINT};Cert="x";URI={TRAVEL}'), "agent_invalid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("raw", [False, True], ids=["headers", "header_map"])
@pytest.mark.parametrize("name", XFCC)
def test_xfcc(world_: World, name: str, raw: bool) -> None:  # noqa: FBT001 - a parameter of cases
    """The header counts only with the right number of elements, by proxies that are trusted."""
    profile, sent, reason = XFCC[name]

    assert ask(world_, profile, sent, raw=raw) == reason


def test_the_hash_binds_tokens(world_: World) -> None:
    """A token that is bound to a certificate is held against the header's Hash (RFC 8705)."""
    thumbprint = world_.svid.certificate.fingerprint(hashes.SHA256())
    good = urlsafe_b64encode(thumbprint).rstrip(b"=").decode()
    for cnf, hash_, reason in (
        (good, digest(world_.svid), "allow"),
        ("x", digest(world_.svid), "cnf_mismatch"),
        (good, "a1" * 32, "cnf_mismatch"),
        (good, "", "pop_missing"),
    ):
        token = world_.token(cnf={"x5t#S256": cnf})
        xfcc = f"By={WAYPOINT};Hash={hash_};URI={TRAVEL}" if hash_ else BY
        headers = [("authorization", f"Bearer {token}"), ("x-forwarded-client-cert", xfcc)]
        context = {"authz_profile": "waypoint"}
        message = check_request(None, headers, principal="", context=context)

        assert reason_of(world_.check(message)) == reason


def test_other_profiles_do_not_read_the_header(world_: World, shared_world: World) -> None:
    """Without an xfcc profile the header is nothing: it neither helps nor makes a new decision."""
    assert ask(world_, "", Sent(principal=TRAVEL, xfcc="nonsense", certificate=own)) == "allow"
    assert ask(world_, "", Sent(xfcc=BY)) == "agent_missing"
    token = shared_world.token()
    for xfcc, cache in (("a", "miss"), ("b", "hit")):
        headers = [("authorization", f"Bearer {token}"), ("x-forwarded-client-cert", xfcc)]
        answer = shared_world.check(check_request(shared_world.svid, headers))
        assert answer.dynamic_metadata["cache"] == cache


# What the sidecar's own element says of a connection: it stands behind what came.
OWN = f"By={SIDECAR};URI={TRAVEL}"
THROUGH = f"By={GATEWAY};URI={TRAVEL},By={SIDECAR};URI={GATEWAY}"
DIRECT: dict[str, tuple[Sent, str]] = {
    "through the gateway": (Sent(principal=GATEWAY, xfcc=THROUGH), "allow"),
    "through it, as Istio's proxies write": (
        Sent(
            principal=GATEWAY,
            xfcc=f'By={GATEWAY};Hash={"a1" * 32};Subject="";URI={TRAVEL},'
            f'By={SIDECAR};Hash={"b2" * 32};Subject="";URI={GATEWAY}',
        ),
        "allow",
    ),
    "directly, as Istio's sidecar writes": (
        Sent(principal=TRAVEL, xfcc=f'By={SIDECAR};Hash={"a1" * 32};Subject="";URI={TRAVEL}'),
        "allow",
    ),
    "through it in two lines": (Sent(principal=GATEWAY, xfcc=THROUGH.split(",")), "allow"),
    "directly": (Sent(principal=TRAVEL, xfcc=OWN), "allow"),
    "directly, without a header": (Sent(principal=TRAVEL), "allow"),
    "directly, with the certificate": (Sent(principal=TRAVEL, certificate=own), "allow"),
    "directly, with another's": (
        Sent(principal=TRAVEL, certificate=of(PAYMENTS)), "identity_conflict",
    ),
    "another, who says he is the agent": (
        Sent(principal=PAYMENTS, xfcc=f"{BY},By={SIDECAR};URI={PAYMENTS}"), "actor_mismatch",
    ),
    "another, who says the gateway saw the agent": (
        Sent(principal=PAYMENTS, xfcc=THROUGH), "actor_mismatch",
    ),
    "the agent, who says it is another": (
        Sent(principal=TRAVEL, xfcc=THROUGH.replace(TRAVEL, PAYMENTS)), "allow",
    ),
    "plain text": (Sent(xfcc=THROUGH), "agent_missing"),
    "plain text, and our own proxy": (Sent(xfcc=THROUGH, proxy=SIDECAR), "agent_missing"),
    "plain text with a certificate": (Sent(xfcc=OWN, certificate=own), "agent_missing"),
    "a gateway of another domain": (
        Sent(principal="spiffe://other.example/ns/gateways/sa/edge", xfcc=THROUGH),
        "agent_untrusted_domain",
    ),
    "a name that is no ID": (Sent(principal="CN=edge", xfcc=THROUGH), "agent_invalid"),
    "a gateway that did not write": (Sent(principal=GATEWAY), "agent_missing"),
    "a gateway that did not replace": (
        Sent(principal=GATEWAY, xfcc=f"URI={TRAVEL},{THROUGH}"), "agent_invalid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIRECT)
def test_direct_and_through_a_gateway(world_: World, name: str) -> None:
    """The header counts on a gateway's connection; any other connection is the agent's own."""
    sent, reason = DIRECT[name]

    assert ask(world_, "both", sent) == reason


def test_what_is_remembered_is_of_the_connection(world_: World) -> None:
    """One token and one header by two connections: neither answer is given for the other."""
    token = world_.token()
    headers = [("authorization", f"Bearer {token}"), ("x-forwarded-client-cert", THROUGH)]
    context = {"authz_profile": "both"}
    found = [
        reason_of(world_.check(check_request(None, headers, principal=who, context=context)))
        for who in (GATEWAY, PAYMENTS, GATEWAY, "", PAYMENTS, "", GATEWAY)
    ]

    assert found == [
        *("allow", "actor_mismatch", "allow", "agent_missing", "actor_mismatch", "agent_missing"),
        "allow",
    ]


CERTIFICATE: dict[str, tuple[Sent, str]] = {
    "alone": (Sent(certificate=own), "allow"),
    "and its principal": (Sent(principal=TRAVEL, certificate=own), "allow"),
    "and another's": (Sent(principal=PAYMENTS, certificate=own), "identity_conflict"),
    "and a DNS name": (Sent(principal="travel.corp.example", certificate=own), "identity_conflict"),
    "none": (Sent(principal=TRAVEL), "agent_missing"),
    "garbage": (Sent(certificate="x"), "agent_invalid"),
    "of another": (Sent(certificate=of(PAYMENTS)), "actor_mismatch"),
    "a CA": (Sent(certificate=of(TRAVEL, ca=True)), "agent_invalid"),
    "not SPIFFE": (Sent(certificate=of("https://a/b")), "agent_invalid"),
    "without a URI": (Sent(certificate=lambda w, _: w.authority.issue(dns=("a",)).url_encoded),
                      "agent_invalid"),
    "with two": (Sent(certificate=lambda w, _: w.authority.issue(TRAVEL, PAYMENTS).url_encoded),
                 "agent_invalid"),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTIFICATE)
def test_certificate(world_: World, name: str) -> None:
    """The certificate alone can say who calls, and must be an SVID."""
    sent, reason = CERTIFICATE[name]

    assert ask(world_, "leaf", sent) == reason


def struct(**fields: Any) -> bytes:
    """A serialised Struct."""
    message = Struct()
    message.update(fields)
    return message.SerializeToString()


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field of protobuf's wire form."""
    length = len(data)
    size = bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + data


def deep(levels: int) -> bytes:
    """A Struct of that many levels: lists in lists, deeper than the library itself would write."""
    value = field(3, b"x")
    for _ in range(levels):
        value = field(6, field(1, value))
    return field(1, field(1, b"spiffe_id") + field(2, value))


METADATA: dict[str, tuple[Sent, str]] = {
    "the ID": (Sent(metadata=struct(spiffe_id=TRAVEL)), "allow"),
    "and the certificate": (
        Sent(metadata=lambda s: struct(spiffe_id=TRAVEL, certificate=s.certificate_pem)), "allow",
    ),
    "and its principal": (Sent(principal=TRAVEL, metadata=struct(spiffe_id=TRAVEL)), "allow"),
    "and another's": (
        Sent(principal=PAYMENTS, metadata=struct(spiffe_id=TRAVEL)), "identity_conflict",
    ),
    "another's certificate": (
        Sent(metadata=lambda s: struct(spiffe_id=PAYMENTS, certificate=s.certificate_pem)),
        "identity_conflict",
    ),
    "a null certificate": (Sent(metadata=struct(spiffe_id=TRAVEL, certificate=None)), "allow"),
    "a certificate that is no text": (
        Sent(metadata=struct(spiffe_id=TRAVEL, certificate=5)), "agent_invalid",
    ),
    "no namespace": (Sent(principal=TRAVEL), "agent_missing"),
    "nothing in it": (Sent(metadata=struct()), "agent_missing"),
    "an empty ID": (Sent(metadata=struct(spiffe_id="")), "agent_missing"),
    "a null ID": (Sent(metadata=struct(spiffe_id=None)), "agent_missing"),
    "a number": (Sent(metadata=struct(spiffe_id=5)), "agent_invalid"),
    "a list": (Sent(metadata=struct(spiffe_id=[TRAVEL])), "agent_invalid"),
    "not SPIFFE": (Sent(metadata=struct(spiffe_id="travel")), "agent_invalid"),
    "garbage": (Sent(metadata=b"\xff\xff"), "agent_invalid"),
    "deep": (Sent(metadata=deep(2000)), "agent_invalid"),
    "huge": (Sent(metadata=struct(spiffe_id=TRAVEL, x="x" * 70_000)), "agent_invalid"),
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_metadata(world_: World, name: str) -> None:
    """What agentgateway's CEL put into the metadata says who calls."""
    sent, reason = METADATA[name]

    assert ask(world_, "meta", sent) == reason


CHOICE: dict[str, tuple[str, Sent, str]] = {
    "the default": ("", Sent(principal=TRAVEL, certificate=own), "allow"),
    "a name that is unknown": ("none", Sent(principal=TRAVEL, certificate=own), "agent_invalid"),
    "the proxy's own": ("", Sent(xfcc=BY, proxy=WAYPOINT), "allow"),
    "the proxy's own, named": ("istio", Sent(xfcc=BY, proxy=WAYPOINT), "allow"),
    "another proxy's": ("istio", Sent(xfcc=BY, proxy=GATEWAY), "agent_invalid"),
    "of proxies, asked by nobody": ("istio", Sent(xfcc=BY), "agent_invalid"),
    "another proxy": ("", Sent(xfcc=BY, proxy=GATEWAY), "agent_missing"),
    "a proxy that is no ID": ("", Sent(xfcc=BY, proxy="x"), "agent_missing"),
    "a domain that comes elsewhere": ("partners", Sent(principal=TRAVEL),
                                      "agent_untrusted_domain"),
    "a federated agent": ("partners", Sent(principal=PARTNER), "actor_mismatch"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICE)
def test_choice(world_: World, name: str) -> None:
    """The route's word, else the calling proxy, else the default says which profile it is."""
    profile, sent, reason = CHOICE[name]

    assert ask(world_, profile, sent) == reason


WRONG = {
    "{identity: xfcc}": "trusted_proxies must list",
    "{trusted_proxies: ['spiffe://a/b']}": "are only for identity: xfcc",
    "{hops: 2}": "are only for identity: xfcc",
    "{direct: true}": "are only for identity: xfcc",
    "{identity: xfcc, direct: true}": "trusted_proxies must list",
    "{upstream_token: keep}": "must be 'strip' or 'forward'",
    "{namespace: x}": "is only for identity: metadata",
    "{identity: xfcc, trusted_proxies: ['x']}": "the ID does not start with spiffe://",
    "{identity: xfcc, trusted_proxies: ['spiffe://a/b'], hops: 0}": "must be at least 1",
    "{identity: header}": "must be 'principal', 'certificate', 'xfcc' or 'metadata'",
    "{trust_domains: [other.example]}": "not one of trust_domains",
    "{callers: ['spiffe://a/b*']}": "'*' stands for a whole segment",
}


@pytest.mark.parametrize("profile", WRONG)
def test_config_errors(shared_world: World, profile: str) -> None:
    """A profile that can't be meant is an error at its line, with what would be right."""
    text = shared_world.config_text.replace("{certificate: required}", profile)
    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), "f.yaml")

    assert WRONG[profile] in str(caught.value)
    assert str(caught.value).startswith("f.yaml:7:")


def test_through_envoy(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The real Envoy overwrites a forged header with the true one, which names the agent."""
    folder = tmp_path_factory.mktemp("xfcc")
    profile = {"identity": "xfcc", "trusted_proxies": [GATEWAY]}
    server = mesh.server("xfcc", LAB.with_(("profiles", "default"), profile))
    try:
        config = bootstrap(
            server=mesh.gateway,
            bundle=mesh.authority.path,
            upstream_port=mesh.upstream.port,
            sockets=[server.wait_ready().socket],
        )
        envoy = Envoy(folder, config).wait_ready()
        try:
            agent = mesh.agent(TRAVEL, port=envoy.port)
            token = mesh.issuer.token(TRAVEL, scope="balance:read")
            forged = ("x-forwarded-client-cert", f"By={GATEWAY};URI={PAYMENTS}")
            headers = [("authorization", f"Bearer {token}"), forged]
            reply = agent.request("GET", "/finance/balance", headers)
        finally:
            envoy.stop()
    finally:
        server.process.stop()

    assert reply.status == 200, reply
    assert ("x-agent-id", TRAVEL) in reply.seen_headers("x-agent-id")
