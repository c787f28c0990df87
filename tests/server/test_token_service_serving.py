"""The token service keeps serving: slow clients, floods, new certificates, reloads and stops."""

import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from authz.adapters.sts.limits import BURST, CONNECTIONS
from authz.server.sts_process import StsProcess
from lab.ca import Authority
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import AUDIENCE, ORCHESTRATOR, TRAVEL
from support.scraped import scraped, tabled
from support.sts_server import TokenServiceProcess, TokenServiceWorld, noted
from support.world import PATIENCE_SECONDS, wait_until

_PART = b"POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n"
ASKERS = 3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TokenServiceWorld]:
    """A token service's files, its issuer and its CA."""
    with TokenServiceWorld(tmp_path) as made:
        yield made


def _ended(connection: ssl.SSLSocket | socket.socket) -> bool:
    """Tell whether the other side has ended a connection, without an answer to half a request."""
    try:
        return connection.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_slow_clients_lose_their_connection(
    world: TokenServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head, a body or a handshake that does not come ends its connection; others are served.

    Each limit is short for the slow client alone: what must be in time here has seconds.
    """
    with world.serving() as process, world.client() as agent:
        assert agent.get("/jwks.json").status_code == 200
        with monkeypatch.context() as patched:
            patched.setattr("authz.adapters.sts.server.REQUEST_SECONDS", 3.0)
            with world.connect() as head:
                head.sendall(_PART)
                patched.setattr("authz.adapters.sts.server.HANDSHAKE_SECONDS", 0.3)
                port = int(world.url.rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as silent:
                    assert agent.get("/jwks.json").status_code == 200
                    assert _ended(silent)
                assert _ended(head)
        with monkeypatch.context() as patched, world.connect() as body:
            patched.setattr("authz.adapters.sts.http.REQUEST_SECONDS", 0.3)
            body.sendall(_PART + b"content-length: 100\r\n\r\na=b")
            assert _ended(body)
        assert agent.get("/jwks.json").status_code == 200
        wait_until(lambda: process.server.status().connections <= 1)
        assert process.server.status().refused >= 1


def test_silent_connections_make_room(
    world: TokenServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More silent connections than there may be do not keep an agent from its token."""
    monkeypatch.setattr("authz.adapters.sts.server.CONNECTIONS", 8)
    with world.serving(), world.client() as agent:
        assert world.exchange(agent).status_code == 200
        port = int(world.url.rpartition(":")[2])
        flood = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(20)]
        assert world.exchange(agent).status_code == 200  # on its connection, which stays
        with world.client() as other:
            assert world.exchange(other).status_code == 200
        for connection in flood:
            connection.close()
    assert CONNECTIONS > 100


def test_silent_handshakes_keep_nobody_out(
    world: TokenServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More silent handshakes than there may be do not make an agent wait for their end."""
    monkeypatch.setattr("authz.adapters.sts.server.HANDSHAKES", 4)
    monkeypatch.setattr("authz.adapters.sts.server.HANDSHAKE_SECONDS", 600.0)
    monkeypatch.setattr("authz.adapters.sts.server.REQUEST_SECONDS", 600.0)
    with world.serving() as process:
        port = int(world.url.rpartition(":")[2])
        flood = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(20)]
        with world.client() as agent:
            assert world.exchange(agent).status_code == 200
        wait_until(lambda: process.server.status().handshakes <= 4)
        for connection in flood:
            connection.close()


def test_a_flood_of_one_host_keeps_no_other_out(
    world: TokenServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections of one address that wait for their handshakes leave every second one to others.

    In the order of their arrival, all of them would come before the agent's.
    """
    monkeypatch.setattr("authz.adapters.sts.server.HANDSHAKES_A_SECOND", 5.0)
    with world.serving() as process:
        port = int(world.url.rpartition(":")[2])
        source = ("127.0.0.2", 0)
        flood = [socket.create_connection(("127.0.0.1", port), 60, source) for _ in range(100)]
        with world.client() as agent:
            assert world.exchange(agent).status_code == 200
        assert process.server.status().connections < 50
        for connection in flood:
            connection.close()


def test_many_clients_get_their_tokens(world: TokenServiceWorld) -> None:
    """Many agents at once get a token each, and no two the same."""
    with world.serving(), ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> str:
            with world.client() as agent:
                return str(world.exchange(agent).json()["access_token"])

        tokens = list(pool.map(ask, range(16)))
    assert len(set(tokens)) == 16


def test_a_flood_of_one_agent_harms_no_other(world: TokenServiceWorld) -> None:
    """An agent that asks too often is told to wait, while another gets its token."""
    with world.serving() as process, world.client() as flooding, world.client(TRAVEL) as other:
        form = world.form(subject_token="x.y.z")
        answers = [flooding.post("/token", data=form) for _ in range(int(BURST) + 40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["error"] == "temporarily_unavailable"
        assert refused[0].headers["retry-after"] == "1"
        token = world.subject(act={"sub": ORCHESTRATOR}, aud="https://sts.corp.example")
        assert world.exchange(other, subject_token=token).status_code == 200
        assert process.server.status().statuses[429] == len(refused)


def test_refused_clients_fill_no_audit_log(
    world: TokenServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refused certificate ends its connection, and all together have one agent's share."""
    monkeypatch.setattr("authz.adapters.sts.shares.BURST", 3.0)
    monkeypatch.setattr("authz.adapters.sts.shares.RATE_A_SECOND", 0.001)
    stranger = world.authority.issue("spiffe://other.example/ns/agents/sa/x")
    request = _PART + b"content-length: 3\r\n\r\na=b"
    with world.serving():
        for _ in range(6):
            with world.connect(stranger) as connection:
                connection.sendall(request * 2)  # the second is one too many
                answers = b"".join(iter(partial(connection.recv, 4096), b""))
            assert answers.count(b"HTTP/1.1 401") == 1
            assert b'"invalid_client"' in answers
        with world.client() as agent:
            assert world.exchange(agent).status_code == 200
        wait_until(lambda: len(world.audit_records()) >= 4)
    reasons = [record["reason"] for record in world.audit_records()]
    assert reasons == [*["agent_untrusted_domain"] * 3, ""]


def test_a_new_certificate_needs_no_restart(world: TokenServiceWorld) -> None:
    """A renewed certificate is shown to the next client; requests go on meanwhile."""
    with world.serving(), world.client() as agent:
        assert world.exchange(agent).status_code == 200
        renewed = world.authority.issue("spiffe://corp.example/ns/authz/sa/sts", dns=("localhost",))
        for new, used in (
            (renewed.certificate_path, world.server_svid.certificate_path),
            (renewed.key_path, world.server_svid.key_path),
        ):
            new.rename(used)
        expected = ssl.PEM_cert_to_DER_cert(renewed.certificate_pem)

        def shown() -> bytes | None:
            with world.connect() as connection:
                return connection.getpeercert(binary_form=True)

        wait_until(lambda: shown() == expected)
        assert world.exchange(agent).status_code == 200


def test_a_ca_that_is_no_longer_trusted_counts_no_more(world: TokenServiceWorld) -> None:
    """An open connection of an agent gets no token once the CA of its certificate is withdrawn."""
    other = Authority(world.folder / "other", "other")
    world.authority.path.with_name("both.pem").write_bytes(
        world.authority.path.read_bytes() + other.path.read_bytes()
    )
    both = world.authority.path.with_name("both.pem")
    world.write_config(LAB.with_(("sts", "tls", "client_ca"), str(both)))
    with world.serving(), world.client(other.issue(ORCHESTRATOR)) as agent:
        assert world.exchange(agent).status_code == 200
        both.with_name("new.pem").write_bytes(world.authority.path.read_bytes())
        both.with_name("new.pem").rename(both)
        wait_until(lambda: world.exchange(agent).status_code == 401)


def test_a_token_ends_with_the_chain_of_its_client(world: TokenServiceWorld) -> None:
    """A certificate that outlives its CA is good, and binds a token, until that CA's end."""
    short = Authority(world.folder / "short", "short", lifetime_seconds=100)
    world.write_config(LAB.with_(("sts", "tls", "client_ca"), str(short.path)))
    with world.serving(), world.client(short.issue(ORCHESTRATOR)) as agent:
        assert world.exchange(agent).json()["expires_in"] <= 100


def test_a_ca_of_another_domain_vouches_for_no_agent_of_ours(world: TokenServiceWorld) -> None:
    """A CA that names its trust domain makes no agents of another, though its file is trusted."""
    partner = Authority(world.folder / "other", "other", spiffe_id="spiffe://partner.example")
    own = Authority(world.folder / "own", "own", spiffe_id="spiffe://corp.example")
    bundle = world.folder / "cas.pem"
    bundle.write_bytes(b"".join(ca.path.read_bytes() for ca in (world.authority, partner, own)))
    world.write_config(LAB.with_(("sts", "tls", "client_ca"), str(bundle)))
    with world.serving():
        for authority, status in ((partner, 401), (own, 200)):
            with world.client(authority.issue(ORCHESTRATOR)) as agent:
                assert world.exchange(agent).status_code == status
    (refused, _) = world.audit_records()
    assert refused["reason"] == "agent_invalid"
    assert "another trust domain" in refused["detail"]


def test_a_config_is_reloaded_and_a_broken_one_is_not(world: TokenServiceWorld) -> None:
    """A changed rule counts at once; an invalid config leaves the last valid one in force."""
    with world.serving() as process, world.client() as agent:
        assert world.exchange(agent).status_code == 200
        good = world.config_path.read_text()
        broken = world.folder / "broken.yaml"
        broken.write_text(good.replace("rules:", "rulez:"))
        broken.rename(world.config_path)
        wait_until(lambda: process.configs.status().is_refused)
        assert world.exchange(agent).status_code == 200
        world.write_config(LAB.with_(("sts", "rules", 0, "agents"), [TRAVEL]))
        wait_until(lambda: process.configs.status().taken >= 1)
        assert world.exchange(agent).status_code == 400


def test_a_trust_domain_that_is_taken_out_counts_no_more(
    world: TokenServiceWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Trust domains need no restart, and the files of TLS do, as the log says of these alone."""
    domains = LAB.with_(("trust_domains",), ["corp.example", "partner.example"])
    needs_restart = "changes to audit, store, replay"

    def trusting(domain: str) -> ConfigBuilder:
        return domains.with_(("sts", "tls", "trust_domains"), [domain])

    world.write_config(trusting("corp.example"))
    with world.serving() as process, world.client() as agent:
        assert world.exchange(agent).status_code == 200
        world.write_config(trusting("partner.example"))
        wait_until(lambda: process.configs.status().taken >= 1)
        assert world.exchange(agent).status_code == 401
        assert needs_restart not in caplog.text
        world.write_config(
            trusting("corp.example").with_(("sts", "tls", "private_key"), "/another.pem")
        )
        wait_until(lambda: needs_restart in caplog.text)
    assert "sts.tls.private_key" in caplog.text
    (_, refused) = world.audit_records()
    assert refused["reason"] == "agent_untrusted_domain"


def test_a_stop_answers_what_has_begun(world: TokenServiceWorld) -> None:
    """SIGTERM ends the process with status 0; each answer that came is whole, and recorded."""
    answers: list[httpx.Response] = []

    def ask(_: int) -> None:
        with world.client() as agent, suppress(httpx.TransportError):
            for _ in range(int(BURST) // ASKERS):  # as many as an agent may at once
                answers.append(world.exchange(agent))  # noqa: PERF401 - counted as they come

    with TokenServiceProcess(world) as service, ThreadPoolExecutor(ASKERS) as pool:
        asking = [pool.submit(ask, number) for number in range(ASKERS)]
        wait_until(lambda: len(answers) > 10)
        service.process.signal(signal.SIGTERM)
        assert service.process.wait() == 0
        for each in asking:
            each.result()
    assert {answer.status_code for answer in answers} == {200}
    allowed = [record for record in world.audit_records() if record["decision"] == "allow"]
    assert len(allowed) >= len(answers)


def test_hup_reloads_and_reopens(world: TokenServiceWorld) -> None:
    """SIGHUP reopens the audit file, for rotation, and the process goes on."""
    with TokenServiceProcess(world) as service, world.client() as agent:
        assert world.exchange(agent).status_code == 200
        wait_until(world.audit_records)
        world.audit_path.rename(world.folder / "rotated.jsonl")
        service.process.signal(signal.SIGHUP)
        wait_until(lambda: '"config taken"' in service.process.log.read_text())
        assert world.exchange(agent).status_code == 200
        wait_until(world.audit_records)


def test_it_says_why_it_can_not_start(world: TokenServiceWorld) -> None:
    """Without the section, or with a certificate that fits no key, it ends with words and 3."""
    world.config_path.write_text(LAB.without(("sts",)).edit(world.config_path.read_text()))
    with pytest.raises(Exception, match="status 3"):
        TokenServiceProcess(world)
    assert "no section sts" in (world.folder / "sts.log").read_text()
    world.write_config(
        LAB.with_(("sts", "tls", "private_key"), str(world.authority.issue(TRAVEL).key_path))
    )
    with pytest.raises(Exception, match="status 3"):
        TokenServiceProcess(world)
    assert "sts.tls.private_key" in (world.folder / "sts.log").read_text()


def test_any_rule_can_be_served(world: TokenServiceWorld) -> None:
    """Settings of every form start it: a rule for principals by their claims has a mapping."""
    match = {"issuer": world.issuer.url, "claims": {"groups": ["finance"]}}
    world.write_config(LAB.with_(("sts", "rules", 0, "principals"), [match]))
    with world.serving(), world.client() as agent:
        refused = world.exchange(agent)
        assert refused.status_code == 400
        member = world.subject(groups=["finance"])
        assert world.exchange(agent, subject_token=member).status_code == 200


def test_operators_see_its_state(world: TokenServiceWorld) -> None:
    """The admin address tells health, readiness, and counts by reason."""
    with world.serving() as process, world.client() as agent:
        world.exchange(agent)
        world.exchange(agent, resource="https://other.example")
        admin = f"http://{process.admin_address}"
        assert httpx.get(f"{admin}/healthz").text == "ok\n"
        assert httpx.get(f"{admin}/readyz").json()["ready"] is True
        metrics = httpx.get(f"{admin}/metrics").text
    for sample in (
        'authz_sts_requests_total{reason=""} 1.0',
        'authz_sts_answers_total{status="200"} 1.0',
        'authz_sts_answers_total{status="400"} 1.0',
        'authz_sts_connections{state="open"} 1.0',
        "authz_tls_certificate_expiry_timestamp_seconds",
        "authz_audit_records_total",
        'authz_signing_keys{use="current"} 1.0',
    ):
        assert sample in metrics


@pytest.mark.parametrize("is_open", [False, True], ids=["prometheus", "openmetrics"])
def test_the_table_is_what_is_exported(world: TokenServiceWorld, is_open: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """FAMILIES and a scrape hold the same families of the service, and it has no others."""
    consents = world.folder / "consents.jsonl"
    consents.touch()
    world.write_config(LAB.with_(("consents",), {"file": str(consents)}))
    with world.serving() as process, world.client() as agent:
        world.exchange(agent)
        found = scraped(process.metrics.registry, is_open=is_open)
    own, shared = tabled(of_token_service=True), tabled(of_token_service=False)
    assert {name: family for name, family in found.items() if name not in shared} == own
    for name, (kind, labels, text) in found.items():
        known_kind, known_labels, known_text = {**own, **shared}[name]
        assert (kind, text) == (known_kind, known_text)
        assert labels <= known_labels  # nothing happened yet in some


def test_a_record_tells_what_was_issued(world: TokenServiceWorld) -> None:
    """A record of an issued token has the audience, scopes, end and a digest; never the token."""
    with world.serving(), world.client() as agent:
        answer = world.exchange(agent)
        assert answer.status_code == 200
        noted(agent.post("/token", data=world.form(resource="https://other.example")))
    allowed, denied = world.audit_records()
    assert (allowed["decision"], allowed["agent"], allowed["rule"]) == (
        "allow",
        ORCHESTRATOR,
        "orchestrator",
    )
    assert allowed["principal"] == "alice"
    assert allowed["actors"][0]["sub"] == ORCHESTRATOR
    assert allowed["issuance"]["audiences"] == [AUDIENCE]
    assert allowed["issuance"]["scopes"] == ["balance:read"]
    assert len(allowed["issuance"]["token_id"]) == 16
    assert allowed["issuance"]["expires_at"] > time.time()
    assert answer.json()["access_token"] not in json.dumps(allowed)
    assert (denied["decision"], denied["issuance"]["error"]) == ("deny", "invalid_target")
    assert denied["status"] == 400


def test_the_loop_is_watched(world: TokenServiceWorld) -> None:
    """The loop of connections shows its progress to health checks."""
    with world.serving() as process:
        assert isinstance(process, StsProcess)
        wait_until(lambda: "transport" in process.liveness.status().idle_seconds)
