"""What is fuzzed: from bytes to a decision, and from a decision to whether it may be.

A target makes inputs out of good ones and of what the fuzzer draws, asks the server's core in this
process, and holds the answer against the reference: a decision, never an exception, never our own
fault, never an allow that the reference says no to.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import unquote

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import DecodeError
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.introspection.answer import AnswerError, read_plain
from authz.adapters.introspection.store import key_of
from authz.core.delegation.value_pattern import ValuePattern
from authz.core.identity.xfcc import XfccError, parse
from authz.core.jose.jwk import Key, KeySetError, parse_key_set
from authz.core.paths import Form
from authz.core.protocols import reading
from authz.edge.envoy.known_messages import CheckReader
from authz.transports.http2 import ServerConnection
from fuzz import approvals as fuzz_approvals
from fuzz import exchange_answers as fuzz_answers
from fuzz import field_blocks, honest_client, kinds, known, reference, token_world, value_patterns
from fuzz import http2 as fuzz_http2
from fuzz import messages as fuzz_messages
from fuzz import token_requests as fuzz_requests
from lab.config_builder import AT_PUBLIC_RULE, LAB
from lab.issuer import b64, sign_raw
from lab.mesh import AUDIENCE, GATEWAY, ISSUER, PAYMENTS, TRAVEL
from support.header_blocks import decoder
from support.world import HOST, READ, World, check_request, reason_of

OPAQUE = "https://opaque.corp.example"  # an issuer that nobody asks: answers are put in its place
CHANGES = (
    LAB.with_profile("xfcc", f"{{identity: xfcc, trusted_proxies: ['{GATEWAY}']}}")
    .with_profile("direct", f"{{identity: xfcc, direct: true, trusted_proxies: ['{GATEWAY}']}}")
    .with_routes(
        f"[{{name: odd, paths: [/odd/**], accept_ambiguous: [{', '.join(get_args(Form))}]}}]"
    )
    .with_keys(AT_PUBLIC_RULE, "{hosts: [mcp.corp.example, '**.fuzz.example'], paths: [/odd/**]}")
    .with_items(
        ("issuers",),
        f"[{{issuer: '{OPAQUE}', audiences: ['{AUDIENCE}'], introspection: "
        "{url: 'https://127.0.0.1:1/introspect', prefixes: [fuzz_]}}]",
        before=1,
    )
    .with_principals(f"[{{match: {{issuer: '{OPAQUE}'}}, grants: [finance-read]}}]")
)
Draw = Callable[..., Any]
Decide = Callable[..., str]
ParseKeys = Callable[[bytes, frozenset[str]], tuple[Mapping[str, Key], Any]]


class WrongError(AssertionError):
    """A decision that must not be; the message says which input and what came."""


@dataclass
class Lab:
    """The server's core. Its answers can be replaced, to see that wrong ones are caught."""

    world: World
    decide: Decide
    parse_keys: ParseKeys = parse_key_set
    read: fuzz_messages.Read = reading.read
    reader: known.MakeReader = CheckReader
    connection: honest_client.Serve = ServerConnection
    decoder: field_blocks.MakeDecoder = decoder
    judge: kinds.Judge = kinds.judge
    parse_pattern: value_patterns.Parse = ValuePattern.parse
    ask: token_world.Ask = token_world.ask
    accept: fuzz_answers.Accept = fuzz_answers.accept
    approve: fuzz_approvals.Approve = fuzz_approvals.approve

    @classmethod
    def of(cls, world: World) -> "Lab":
        """The real thing."""
        return cls(world, lambda message: reason_of(world.check(message)))

    def asked(self, message: pb.CheckRequest | bytes, *, may_be: bool, what: object) -> str:
        """Ask; the reason. Raises WrongError for an allow, or a fault, that must not be."""
        reason = self.decide(message)
        if reason == "internal_error":
            raise WrongError(f"our own fault for {what!r}")
        if reason == "allow" and not may_be:
            raise WrongError(f"allowed {what!r}")
        return reason


def _mutated(draw: Draw, good: bytes) -> bytes:
    """Good bytes with some of them changed, cut out, doubled or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["set", "cut", "insert", "double"]))
        if kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 16))]
    return bytes(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


def check_bytes(lab: Lab, draw: Draw) -> str:
    """CheckRequests: any bytes, and good ones mutated."""
    good = check_request(lab.world.svid, [("authorization", f"Bearer {lab.world.token()}")])
    serialised = good.SerializeToString()
    data = draw(st.binary(max_size=200)) if draw(st.booleans()) else _mutated(draw, serialised)
    message = pb.CheckRequest()
    try:
        message.ParseFromString(data)
    except DecodeError:  # no check at all
        return lab.asked(data, may_be=False, what=data.hex())
    return lab.asked(data, may_be=_is_still(message, good), what=data.hex())


def _is_still(message: pb.CheckRequest, good: pb.CheckRequest) -> bool:
    """Whether a request still has all that a decision reads; what else it has does not matter."""
    got, wanted = message.attributes, good.attributes
    return (
        got.source.principal == wanted.source.principal
        and reference.certificate_may_pass(got.source.certificate, TRAVEL)
        and got.request.http.method == "GET"
        and reference.path_may_pass(got.request.http.path, "/finance/")
        and got.request.http.host.lower().startswith(HOST)
        and got.request.http.headers["authorization"]
        == wanted.request.http.headers["authorization"]
    )


def tokens(lab: Lab, draw: Draw) -> str:
    """Tokens: texts mutated, and odd headers and claims, well signed."""
    token = _token(lab, draw)
    # A header value has no NUL and is UTF-8, or it would not have come so far.
    message = check_request(lab.world.svid, [("authorization", f"Bearer {token}")])
    keys = {
        name: key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for name, key in lab.world.issuer.keys.items()
    }
    may_be = reference.is_one_text(token) and reference.token_may_pass(
        token, keys, ISSUER, AUDIENCE, TRAVEL
    )
    return lab.asked(message, may_be=may_be, what=token)


def _token(lab: Lab, draw: Draw) -> str:
    issuer, key = lab.world.issuer, lab.world.issuer.current
    kind = draw(st.sampled_from(["text", "claims", "header", "payload bytes", "good"]))
    if kind == "text":
        data = _mutated(draw, issuer.token(TRAVEL, scope=READ).encode())
        return data.decode("utf-8", "replace").replace("\x00", "")
    names = st.sampled_from(
        ["iss", "sub", "aud", "exp", "iat", "nbf", "act", "cnf", "scope", "jti", "client_id", "x"]
    )
    changes = draw(st.dictionaries(names, _JSON, max_size=2)) if kind == "claims" else {}
    members = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "cty", "x"])
    header = draw(st.dictionaries(members, _JSON, max_size=2)) if kind == "header" else {}
    head = {"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt"} | header
    body = json.dumps(issuer.claims(TRAVEL, "alice", READ) | changes).encode()
    if kind == "payload bytes":
        body = _mutated(draw, body)
    return sign_raw(key, json.dumps(head).encode(), body)


def answers(lab: Lab, draw: Draw) -> str:
    """Answers about opaque tokens: texts mutated, and odd members."""
    now = int(time.time())
    good = {
        "active": True,
        "iss": OPAQUE,
        "sub": "alice",
        "aud": AUDIENCE,
        "scope": READ,
        "token_type": "Bearer",
        "act": {"sub": TRAVEL},
        "iat": now,
        "exp": now + 600,
    }
    if draw(st.booleans()):
        names = st.sampled_from([*good, "nbf", "cnf", "jti", "client_id", "token_use", "typ", "x"])
        changes = draw(st.dictionaries(names, _JSON, max_size=2))
        missing = draw(st.sets(names, max_size=2))
        members = {n: v for n, v in {**good, **changes}.items() if n not in missing}
        body = json.dumps(members).encode()
    else:
        body = _mutated(draw, json.dumps(good).encode())
    token = f"fuzz_{secrets.token_hex(8)}"
    try:
        answer = read_plain(body, time.time(), 30.0)
    except AnswerError:
        return "refused"
    client = lab.world.parts.introspections._clients[OPAQUE]
    client._store.put(key_of(client._place, token), answer, time.monotonic())
    message = check_request(lab.world.svid, [("authorization", f"Bearer {token}")])
    may_be = reference.answer_may_pass(body, OPAQUE, AUDIENCE, TRAVEL, READ)
    return lab.asked(message, may_be=may_be, what=body)


def certificates(lab: Lab, draw: Draw) -> str:
    """Certificates: texts and DER mutated."""
    svid = lab.world.svid
    if draw(st.booleans()):
        text = _mutated(draw, svid.url_encoded.encode()).decode("latin-1")
    else:
        der = _mutated(draw, svid.certificate.public_bytes(Encoding.DER))
        body = b64(der).replace("-", "+").replace("_", "/")
        body += "=" * (-len(body) % 4)
        text = f"-----BEGIN CERTIFICATE-----%0A{body}%0A-----END CERTIFICATE-----%0A"
    token = lab.world.token()
    message = check_request(svid, [("authorization", f"Bearer {token}")], certificate=text)
    may_be = reference.certificate_may_pass(text, TRAVEL)
    return lab.asked(message, may_be=may_be, what=unquote(text))


def paths(lab: Lab, draw: Draw) -> str:
    """Paths: what servers read differently, below a prefix that is allowed."""
    pieces = st.sampled_from(
        ["..", ".", "%2e", "%2f", "%5c", "\\", ";", "/", "//", "a", "%00", "%25", "?", "#", "*",
         "%23", "%3f", "%3b", "\u00e9", "\uff0f", "%ff", "balance", "admin",
         "..;", "%u002f", " ", "\t"]
    )  # fmt: skip
    path = "/finance/" + "".join(draw(st.lists(pieces, max_size=6)))
    token = lab.world.token()
    message = check_request(lab.world.svid, [("authorization", f"Bearer {token}")], path=path)
    return lab.asked(message, may_be=reference.path_may_pass(path, "/finance/"), what=path)


def accepted_paths(lab: Lab, draw: Draw) -> str:
    """Paths on a route that accepts every form: no reader finds dots or controls in them."""
    pieces = st.sampled_from(
        ["..", ".", "%2e", "%2E", "%2f", "%5c", ";", "%3b", "%23", "%3F", "%25", "%252", "/", "//",
         "a", "ab", "%00", "%1f", "%ff", "%c3%a9", "%ef%bc%8f", "%ef%bc%8e", "%e2%80%a5", "?", "#"]
    )  # fmt: skip
    path = "/odd/" + "".join(draw(st.lists(pieces, max_size=6)))
    token = lab.world.token()
    message = check_request(lab.world.svid, [("authorization", f"Bearer {token}")], path=path)
    return lab.asked(message, may_be=reference.odd_path_may_pass(path, "/odd/"), what=path)


def hosts(lab: Lab, draw: Draw) -> str:
    """Hosts around a domain of which all are allowed."""
    pieces = st.sampled_from(
        ["a", "t1", ".", "-", "_", "*", "fuzz", "example", ":80", "FUZZ", "[", "]", "@", " ", "%2e"]
    )  # fmt: skip
    ends = st.sampled_from(["", "fuzz.example", ".fuzz.example", ".Fuzz.example:80"])
    host = "".join(draw(st.lists(pieces, max_size=4))) + draw(ends)
    headers = [("authorization", f"Bearer {lab.world.token()}")]
    message = check_request(lab.world.svid, headers, host=host, path="/odd/x")
    return lab.asked(message, may_be=reference.host_may_pass(host, "fuzz.example"), what=host)


def xfcc(lab: Lab, draw: Draw) -> str:
    """The header x-forwarded-client-cert: mutated, and put together of its own pieces."""
    good = f"By={GATEWAY};URI={TRAVEL}"
    pieces = st.sampled_from(
        ["By=", "URI=", "Hash=", 'Subject="', '"', ";", ",", "\\", "=", GATEWAY, TRAVEL, "x"]
    )
    text = (
        "".join(draw(st.lists(pieces, max_size=8)))
        if draw(st.booleans())
        else _mutated(draw, good.encode()).decode("utf-8", "replace")
    )
    with suppress(XfccError):
        parse(text)
    token = lab.world.token()
    headers = [("authorization", f"Bearer {token}"), ("x-forwarded-client-cert", text)]
    if draw(st.booleans()):
        principal = draw(st.sampled_from(["", TRAVEL, PAYMENTS, GATEWAY, f"{GATEWAY}/x"]))
        may_be = reference.direct_may_pass(text, TRAVEL, GATEWAY, principal)
        context = {"authz_profile": "direct"}
    else:
        principal, context = "", {"authz_profile": "xfcc"}
        may_be = reference.xfcc_may_pass(text, TRAVEL, GATEWAY)
    message = check_request(None, headers, principal=principal, context=context)
    return lab.asked(message, may_be=may_be, what=text)


def key_sets(lab: Lab, draw: Draw) -> str:
    """JWK Sets: mutated, and of odd members. Good keys are found, or the set is refused."""
    good = lab.world.issuer.jwks()
    if draw(st.booleans()):
        document = _mutated(draw, good)
    else:
        keys = json.loads(good)["keys"]
        members = st.sampled_from(
            ["kty", "crv", "x", "y", "n", "e", "alg", "use", "kid", "key_ops", "x5c", "issuer"]
        )
        keys[0] |= draw(st.dictionaries(members, _JSON, max_size=2))
        document = json.dumps({"keys": keys + draw(st.lists(_JSON, max_size=2))}).encode()
    try:
        found, _ = lab.parse_keys(document, frozenset({"ES256"}))
    except KeySetError:
        return "refused"
    if not all(key.algorithms <= {"ES256"} and key.algorithms for key in found.values()):
        raise WrongError(f"a key for another algorithm in {document!r}")
    return "taken"


def messages(lab: Lab, draw: Draw) -> str:
    """Messages of every protocol: doubled, respelt and cut. All that a server could see is read."""
    answer, wrong = fuzz_messages.check(lab.read, draw, _mutated)
    if wrong:
        raise WrongError(wrong)
    return answer


def known_messages(lab: Lab, draw: Draw) -> str:
    """CheckRequests of an agent whose requests are known, mutated, beside the full reading."""
    answer, wrong = known.check(lab.reader, draw, _mutated)
    if wrong:
        raise WrongError(wrong)
    return answer


def http2(lab: Lab, draw: Draw) -> str:
    """An HTTP/2 connection: hostile frames and octets, and a real client with odd ones between."""
    answer, wrong = fuzz_http2.check(lab.connection, draw)
    if wrong:
        raise WrongError(wrong)
    return answer


def hpack(lab: Lab, draw: Draw) -> str:
    """Field blocks (HPACK): octets, and an encoder's with some changed, beside another decoder."""
    answer, wrong = field_blocks.check(lab.decoder, draw)
    if wrong:
        raise WrongError(wrong)
    return answer


def token_kinds(lab: Lab, draw: Draw) -> str:
    """Tokens of every kind and vendor, at issuers whose settings open what can be opened."""
    answer, wrong = kinds.check(lab.judge, draw)
    if wrong:
        raise WrongError(wrong)
    return answer


def agent_names(lab: Lab, draw: Draw) -> str:
    """Patterns that make agents' IDs of names."""
    answer, wrong = value_patterns.check(lab.parse_pattern, draw)
    if wrong:
        raise WrongError(wrong)
    return answer


def token_requests(lab: Lab, draw: Draw) -> str:
    """Token requests: forms twisted, with tokens of every kind, beside the rules as data."""
    answer, wrong = fuzz_requests.check(lab.ask, draw, _mutated)
    if wrong:
        raise WrongError(wrong)
    return answer


def exchange_answers(lab: Lab, draw: Draw) -> str:
    """A token endpoint's answers, good ones, odd ones and forged ones, by several settings."""
    answer, wrong = fuzz_answers.check(lab.accept, draw, _mutated)
    if wrong:
        raise WrongError(wrong)
    return answer


def approvals(lab: Lab, draw: Draw) -> str:
    """authorization_details and the calls that they should approve, or just not."""
    answer, wrong = fuzz_approvals.check(lab.approve, draw, _mutated)
    if wrong:
        raise WrongError(wrong)
    return answer


TARGETS: Mapping[str, Callable[[Lab, Draw], str]] = {
    one.__name__: one
    for one in (
        check_bytes,
        tokens,
        answers,
        certificates,
        paths,
        accepted_paths,
        hosts,
        xfcc,
        key_sets,
        messages,
        known_messages,
        http2,
        hpack,
        token_kinds,
        agent_names,
        token_requests,
        exchange_answers,
        approvals,
    )
}
