"""Exchange of tokens from the check to the answer: the upstream gets the exchanged token alone."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from prometheus_client import generate_latest

from authz._pb import ext_authz_pb2 as pb
from authz.core.delegation.credential import token_hash
from lab.config_builder import LAB, ConfigBuilder
from lab.dpop import DpopClient
from lab.issuer import Issuer
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL, sample_of
from support.exchange_issuer import CLIENT, SECRET, ExchangeIssuer
from support.ext_mcp import Gateway
from support.ext_mcp import reason_of as mcp_reason_of
from support.ext_mcp import request as mcp_request
from support.jwks_server import ScriptedServer, answer
from support.world import BALANCE, READ, World, check_request, header_of, reason_of, wait_until

ORDERS: Final = "https://orders.corp.example"


def changes_of(url: str, folder: Path, **more: Any) -> ConfigBuilder:
    """The lab's config, whose route exchanges tokens at this endpoint."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    (folder / "revoked.jsonl").touch()
    given = {"client_id": CLIENT, "client_secret_file": str(secret)}
    settings = {"url": url, "insecure": True, "timeout": "10s", **given, **more}
    return (
        LAB.with_(("issuers", 0, "exchange"), settings)
        .with_section("revocations", f"{{file: '{folder}/revoked.jsonl'}}")
        .with_(("routes", "finance", "upstream_token"), "exchange")
        .with_(("routes", "finance", "exchange"), {"issuer": ISSUER, "audience": ORDERS})
    )


class Exchanging:
    """A core, and its issuer's token endpoint."""

    def __init__(self, folder: Path) -> None:
        """Start both: the endpoint exchanges tokens of the core's issuer."""
        self.server = ExchangeIssuer(Issuer(ISSUER, AUDIENCE))
        self.world = World(folder, changes_of(self.server.url, folder))
        self.server.issuer = self.world.issuer

    def stop(self) -> None:
        """Stop both."""
        self.world.__exit__()
        self.server.__exit__()

    def counted(self, result: str) -> float:
        """How many exchanges had this result."""
        text = generate_latest(self.world.registry).decode()
        return sample_of(text, f'authz_exchanges_total{{issuer="{ISSUER}",result="{result}"}}')


@pytest.fixture
def exchanging(tmp_path: Path) -> Iterator[Exchanging]:
    """A core that exchanges tokens."""
    running = Exchanging(tmp_path)
    yield running
    running.stop()


def claims_of(got: pb.CheckResponse) -> dict[str, Any]:
    """The claims of the token that the upstream gets."""
    assert reason_of(got) == "allow", reason_of(got)
    kind, _, token = (header_of(got, "authorization") or "").partition(" ")
    assert kind == "Bearer"
    assert "authorization" not in got.ok_response.headers_to_remove
    return jwt.decode(token, options={"verify_signature": False})


def test_the_upstream_gets_the_exchanged_token(exchanging: Exchanging) -> None:
    """In place of the client's; once for all paths; recorded without any part of it."""
    world = exchanging.world
    token = world.token()
    got = world.ask(token)
    claims = claims_of(got)
    assert (claims["aud"], claims["sub"], claims["act"]) == (ORDERS, "alice", {"sub": TRAVEL})
    assert claims["scope"] == READ
    assert claims_of(world.ask(token, path="/finance/other")) == claims
    assert claims_of(world.ask(token)) == claims
    assert exchanging.server.calls == 1
    assert exchanging.counted("exchanged") == 1
    record = world.audit_records()[0]["upstream"]
    assert (record["gets"], record["audience"]) == ("exchange", ORDERS)
    assert record["id"] == token_hash(exchanging.server.tokens[0])
    text = world.audit_path.read_text()
    assert not any(part in text for part in exchanging.server.tokens[0].split("."))


def test_a_refused_exchange(exchanging: Exchanging) -> None:
    """A refusal of the issuer is a 403 with a reason of its own; a fault there is a 503."""
    world, server = exchanging.world, exchanging.server
    server.behaviour = answer(b'{"error":"invalid_target"}', 400, "application/json")
    got = world.ask(world.token())
    assert reason_of(got) == "exchange_refused"
    assert got.denied_response.status.code == 403
    server.behaviour = answer(b"", 503)
    got = world.ask(world.token())
    assert reason_of(got) == "exchange_unavailable"
    assert got.denied_response.status.code == 503
    details = [record["detail"] for record in world.audit_records()]
    assert "invalid_target" in details[0]
    assert "status 503" in details[1]
    server.behaviour = None
    server.claims = {"sub": "mallory"}
    assert reason_of(world.ask(world.token())) == "exchange_unavailable"


def test_a_refusal_spends_nothing(tmp_path: Path) -> None:
    """A proof is not used up by a request whose exchange failed: the client may send it again."""
    server = ExchangeIssuer(Issuer(ISSUER, AUDIENCE))
    with server, World(tmp_path, changes_of(server.url, tmp_path)) as world:
        server.issuer = world.issuer
        client = DpopClient()
        token = world.token(cnf=client.confirmation)
        proof = client.proof(token, "GET", f"https://mcp.corp.example{BALANCE}")
        headers = [("authorization", f"DPoP {token}"), ("dpop", proof)]
        server.claims = {"cnf": None}
        server.behaviour = answer(b"", 503)
        assert reason_of(world.check(check_request(world.svid, headers))) == "exchange_unavailable"
        server.behaviour = None
        got = world.check(check_request(world.svid, headers))
        assert claims_of(got)["aud"] == ORDERS
        assert "dpop" in got.ok_response.headers_to_remove
        assert reason_of(world.check(check_request(world.svid, headers))) == "dpop_proof"


def test_the_callers_deadline(exchanging: Exchanging) -> None:
    """A check ends in time, and the exchange serves the next; others do not wait for it."""
    world, server = exchanging.world, exchanging.server
    token, server.gate = world.token(), threading.Event()
    asked = check_request(world.svid, [("authorization", f"Bearer {token}")])
    assert reason_of(world.check(asked, 0.3)) == "exchange_unavailable"
    server.gate.set()
    wait_until(lambda: exchanging.counted("exchanged") == 1)
    assert claims_of(world.check(asked))["aud"] == ORDERS
    assert server.calls == 1


def test_a_revocation_while_exchanging(exchanging: Exchanging) -> None:
    """A token that is revoked while it is exchanged is refused, though the exchange succeeds."""
    world, server = exchanging.world, exchanging.server
    token, server.gate = world.token(jti="revoked"), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(world.ask, token)
        wait_until(lambda: server.calls == 1)
        revoke(world)
        server.gate.set()
        assert reason_of(asking.result(60)) == "token_revoked"
    assert reason_of(world.ask(token)) == "token_revoked"


def revoke(world: World) -> None:
    """Add the token to the file, and let the server look."""
    line = json.dumps({"issuer": ISSUER, "token_id": "revoked"})
    (world.folder / "revoked.jsonl").write_text(f"{line}\n")
    world.revocations.refresh()


def test_an_opaque_token(tmp_path: Path) -> None:
    """The answer of its issuer's introspection says whom the exchanged token must name."""
    server = ExchangeIssuer(Issuer(ISSUER, AUDIENCE))
    claims = server.issuer.claims(TRAVEL, "alice", READ)
    asked = ScriptedServer(answer(json.dumps({"active": True, **claims}).encode(), 200, None))
    introspection = {"url": asked.url, "insecure": True, "timeout": "10s"}
    changes = changes_of(server.url, tmp_path).with_(("issuers", 0, "introspection"), introspection)
    with server, closing(asked), World(tmp_path, changes) as world:
        server.issuer, server.opaque = world.issuer, {"opaque": {**claims, "sub": "bob"}}
        assert reason_of(world.ask("opaque")) == "exchange_unavailable"
        server.opaque = {"opaque": claims}
        wait_until(lambda: reason_of(world.ask("opaque")) == "allow")  # a refusal is remembered
        assert claims_of(world.ask("opaque"))["sub"] == "alice"
        assert {form["subject_token"] for form in server.forms} == {"opaque"}
        assert server.calls == 2


def test_another_agent_gets_none_of_it(exchanging: Exchanging) -> None:
    """The token of an agent is exchanged for nobody else, whatever is remembered."""
    world = exchanging.world
    token = world.token()
    claims_of(world.ask(token))
    message = check_request(
        world.authority.issue(PAYMENTS), [("authorization", f"Bearer {token}")], principal=PAYMENTS
    )
    assert reason_of(world.check(message)) == "actor_mismatch"
    assert exchanging.server.calls == 1


def test_a_reload(exchanging: Exchanging) -> None:
    """After a change of the endpoint nothing that the old one gave is used."""
    world = exchanging.world
    token = world.token()
    claims_of(world.ask(token))
    with ExchangeIssuer(world.issuer) as other:
        world.parts.reconfigure(world.configure(changes_of(other.url, world.folder)))
        claims_of(world.ask(token))
        assert other.calls == 1
    world.parts.reconfigure(world.configure(LAB))
    got = world.ask(token)
    assert header_of(got, "authorization") is None
    assert "authorization" in got.ok_response.headers_to_remove


def test_another_header_of_tokens(exchanging: Exchanging) -> None:
    """A remembered token goes into the header of the settings in force, and no twin of it passes.

    A server that reads x_access_token like x-access-token could take the client's.
    """
    world = exchanging.world
    token = world.token()
    claims_of(world.ask(token))
    changes = changes_of(exchanging.server.url, world.folder)
    world.parts.reconfigure(
        world.configure(changes.with_section("token", "{header: x-access-token}"))
    )
    twins = ["x_access-token", "x.access.token"]
    headers = [("x-access-token", f"Bearer {token}"), *((name, "forged") for name in twins)]
    for raw in (False, True):
        got = world.check(check_request(world.svid, headers, raw_headers=raw))
        assert reason_of(got) == "allow"
        assert header_of(got, "authorization") is None
        assert exchanging.server.tokens[0] in (header_of(got, "x-access-token") or "")
        assert {*twins} <= {*got.ok_response.headers_to_remove}
    assert exchanging.server.calls == 1


def test_behind_agentgateway(tmp_path: Path) -> None:
    """Where the gateway removes every token after the check, a call without one never goes on.

    Where it does not, the server gets the exchanged token.
    """
    server = ExchangeIssuer(Issuer(ISSUER, AUDIENCE))
    route = """\
- {name: github, hosts: [github], protocol: mcp, resource: "https://mcp.corp.example/finance",
    upstream_token: exchange, exchange: {issuer: "https://as.corp.example", audience: github}}
- {name: jira, hosts: [jira], protocol: mcp, resource: "https://mcp.corp.example/finance"}
"""
    changes = (
        changes_of(server.url, tmp_path)
        .with_routes(route)
        .with_(("profiles", "default"), {"identity": "metadata"})
        .with_rules(
            "finance-read",
            "- {hosts: ['*'], methods: [POST], paths: [/**], scopes: [], mcp: {tools: [find]}}",
        )
    )
    with server, World(tmp_path, changes) as world:
        server.issuer, gateway = world.issuer, Gateway(world)
        for method, params in (("tools/call", {"name": "find"}), ("tools/list", {})):
            for target in ("github", "jira"):
                call = mcp_request(method, params, token=world.token(), targets=[target])
                described = {"agentgateway.request": {"strips_token": True}}
                call.metadata_context.update(described)
                wanted = "exchange_unavailable" if target == "github" else "pass"
                assert mcp_reason_of(gateway.ask(call)) == wanted
        assert not server.calls
        call = mcp_request("tools/call", {"name": "find"}, token=world.token())
        (value,) = [
            one.value for one in gateway.ask(call).header_mutation.set if one.key == "authorization"
        ]
        assert value.decode() == f"Bearer {server.tokens[0]}"
        records = [each for each in world.audit_records() if each.get("reason")]
        assert all(
            "set upstream_token of the route to assert" in each["detail"] for each in records
        )
