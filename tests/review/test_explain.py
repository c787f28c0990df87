"""Explain: what it tells is what policy says, from flags, recorded requests and audit records."""

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from authz.config import load
from authz.core.decision import Mode, Permit
from authz.core.policy import RuleSettings
from authz.core.request import Operation
from authz.review.explain import RecordedError
from authz.review.explain import check_request as read_check_request
from authz.review.explain.rule_report import report_rules
from authz.wiring.policy_version import compute_policy_version
from lab.config_builder import AT_READ_RULE, LAB
from lab.mesh import ISSUER, TRAVEL
from support.path_rules import RULES, SEGMENTS, delegation, policy, query, rule
from support.verbs import URL, edit, run
from support.world import READ, World, check_request


@given(RULES, RULES, SEGMENTS, st.sets(st.sampled_from(["s", "t"])), st.sampled_from(Mode))
def test_what_is_told_is_what_is_judged(
    of_agent: tuple[RuleSettings, ...],
    of_principal: tuple[RuleSettings, ...],
    segments: list[str],
    scopes: set[str],
    mode: Mode,
) -> None:
    """Explain tells an allow exactly where policy allows, however the agent acts."""
    subject = policy((*of_agent, rule("/a/**", "s")), (*of_principal, rule("/*", "t")))
    acting = replace(delegation(*scopes), mode=mode, by_svid=mode is Mode.AUTONOMOUS)
    asked = query(acting, Operation("GET", "h", tuple(segments)))
    told = report_rules(subject, asked)

    assert told.allows == isinstance(subject.evaluate(asked).outcome, Permit)
    assert told.allows or any(
        line.startswith(("denied by", "nearest miss")) for line in told.lines()
    )


def test_the_nearest_miss_and_bounds() -> None:
    """Rules that miss least come first; twenty are shown, and how many are not."""
    far = tuple(rule(f"/far/{number}") for number in range(30))
    told = report_rules(
        policy((*far, rule("/x", "s1")), (rule("/x"),)),
        query(delegation(), Operation("GET", "h", ("x",))),
    )

    assert "nearest miss: a/30: the scope s1 is missing" in told.lines()
    assert sum("far" in line for line in told.lines()) == 19
    assert any("and 11 more; --all" in line for line in told.lines())
    assert sum("far" in line for line in told.lines(None)) == 30


def test_what_the_upstream_gets(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An allow says that the upstream gets the token, by the route and the default profile."""
    words = "the upstream gets the client's token"
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice"]
    call += ["--scope", READ]
    kept = LAB.with_(("routes", 0, "upstream_token"), "forward")
    cut = LAB.with_(("profiles", "default", "upstream_token"), "strip")
    for changes, is_told in ((LAB, False), (kept, True), (cut, False)):
        edit(config, changes)
        capsys.readouterr()

        assert run(*call) == 0
        assert (words in capsys.readouterr().out) is is_told


def test_what_is_made_for_the_upstream(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An allow says for whom an assertion or a token would be made, and with which scopes."""
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice"]
    call += ["--scope", f"{READ} other"]
    route = ("routes", "finance")
    given = {"issuer": "https://authz.corp.example", "make": "k.pem", "insecure": True}
    asserts = LAB.with_(("assertions",), given).with_((*route, "upstream_token"), "assert")
    edit(config, asserts.with_((*route, "assertion"), {"scopes": [READ]}))
    capsys.readouterr()

    assert run(*call) == 0
    words = "the upstream gets an assertion for https://mcp.corp.example/finance, with the scopes: "
    assert f"{words}{READ}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scopes", "words"),
    [
        (
            [READ],
            f"a token for ledger, if {ISSUER} exchanges the client's, with the scopes: {READ}",
        ),
        (["other"], "nothing, as the client's has none of the scopes other: the server refuses"),
    ],
)
def test_what_is_exchanged_for_the_upstream(
    config: Path, capsys: pytest.CaptureFixture[str], scopes: list[str], words: str
) -> None:
    """An allow says which token would be asked for, or that none can be."""
    client = {"url": f"{ISSUER}/token", "client_id": "authz", "client_secret_file": "secret"}
    route = {"issuer": ISSUER, "audience": "ledger", "scopes": scopes}
    (config.parent / "secret").write_text("s3cret\n")
    changes = LAB.with_(("issuers", 0, "exchange"), client)
    changes = changes.with_(("routes", "finance", "upstream_token"), "exchange")
    edit(config, changes.with_(("routes", "finance", "exchange"), route))
    capsys.readouterr()
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice"]

    assert run(*call, "--scope", READ) == 0
    assert f"the upstream gets {words}" in capsys.readouterr().out


def test_budgets(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Explain shows the budget of each rule, says what the request needs of it, and spends none."""
    edit(config, LAB.with_((*AT_READ_RULE, "budget"), {"limit": 1, "per": "agent", "window": "1h"}))
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice"]
    call += ["--scope", READ]
    for _ in range(2):
        capsys.readouterr()
        assert run(*call) == 0
        out = capsys.readouterr().out
        assert "ok finance-read/0 (budget: 1 in 1h per agent)" in out
        assert "if the budget of finance-read/0 has room for 1\nALLOW" in out
    assert run(*call, "--json") == 0
    assert json.loads(capsys.readouterr().out)["budgets"] == {"finance-read/0": 1.0}


def test_what_is_not_looked_at(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An allow says that the store was not asked: who is revoked there is refused by servers."""
    store = {"url": "unix:///nonexistent/valkey.sock"}
    edit(config, LAB.with_(("store",), store))
    asked = "explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice"
    assert run(*asked, "--scope", "balance:read") == 0
    unseen = "not looked at: what is revoked in the store (authz revocations lists it)"
    assert unseen in capsys.readouterr().out
    assert run(*asked, "--scope", "other") == 1
    assert "not looked at" not in capsys.readouterr().out


def test_flags(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Claims, headers, roles, actors, age and time all reach the rules."""
    limits = """\
max_token_age: 5m
max_actors: 2
headers: {x-env: [prod]}
during: [{not_before: 2026-01-01T00:00:00Z, not_after: 2027-01-01T00:00:00Z}]
"""
    match = ("principals", 1, "match")
    readers = LAB.without((*match, "groups"))
    readers = readers.with_keys(match, "{roles: [r], claims: {level: [3], dept: [fin]}}")
    edit(config, readers.with_keys(AT_READ_RULE, limits))
    good = ["--principal", "bob", "--scope", READ, "--role", "r", "--claim", "level=3"]
    good += ["--claim", "dept=fin", "--header", "X-Env=prod", "--at", "2026-06-01T00:00:00Z"]
    good += ["--token-age", "4m", "--actor", "spiffe://corp.example/x"]
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL]

    assert run(*call, *good) == 0
    for more, words in (
        (["--token-age", "6m"], "issued more than 300 s ago"),
        (["--actor", "spiffe://corp.example/y"], "the chain has 3 actors"),
        (["--at", "2028-01-01T00:00:00Z"], "outside the rule's times"),
        (["--header", "x-env=b"], "the header x-env is not one of prod"),
        (["--claim", "level=4"], "the claim level has none of its values"),
    ):
        capsys.readouterr()
        assert run(*call, *good, *more) == 1
        assert words in capsys.readouterr().out


def test_a_recorded_request(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A CheckRequest in any form gets the server's answer; fields that we lack are passed over."""
    (tmp_path / "c.yaml").write_text(world.config_text)
    message = check_request(world.svid, [("authorization", f"Bearer {world.token()}")])
    http = message.attributes.request.http
    full = {
        "attributes": {
            "source": {
                "principal": message.attributes.source.principal,
                "certificate": message.attributes.source.certificate,
                "address": {"socketAddress": {"address": "10.0.0.1", "portValue": 1}},
            },
            "request": {
                "http": {
                    "method": http.method,
                    "path": http.path,
                    "host": http.host,
                    "headers": dict(http.headers),
                }
            },
            "metadataContext": {"filterMetadata": {"a.b": {"c": [1, {"d": True}]}}},
            "tlsSession": {"sni": "not base64!"},
        }
    }
    text = text_format.MessageToString(message)
    text = text.replace(
        "attributes {",
        'attributes { destination { labels { key: "a" value: "b" } }\n'
        'metadata_context { filter_metadata { key: "n" value { fields {'
        ' key: "c" value { bool_value: true } } } } }',
        1,
    )
    forms = [message.SerializeToString(), json.dumps(full).encode(), text.encode()]
    for number, data in enumerate(forms):
        file = tmp_path / f"token-{number}"
        file.write_bytes(data)
        assert run("explain", str(tmp_path / "c.yaml"), "--check-request", str(file)) == 0
        assert "by the token" in capsys.readouterr().out
    sent = read_check_request(forms[1]).attributes.metadata_context.filter_metadata
    assert sent["a.b"]
    for bad in (b"{", b"attributes {", b"\xff\xff"):
        with pytest.raises(RecordedError):
            read_check_request(bad)


def test_an_audit_record(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A record's question is asked again; one refused before policy tells its own reason."""
    path = tmp_path / "c.yaml"
    path.write_text(world.config_text)
    world.ask(world.token())
    world.ask(world.token(scope="other"))
    world.ask(None)
    records = world.audit_records()
    expected = [
        (0, "ALLOW"),
        (1, "nearest miss: finance-read/0: the scope balance:read is"),
        (1, f"1 agent     {TRAVEL}\n            refused before policy was asked\nDENY  "),
    ]
    for record, (status, words) in zip(records, expected, strict=True):
        call = ["explain", str(path), "--audit", str(world.audit_path), "--decision-id"]
        assert run(*call, record["decision_id"]) == status
        out = capsys.readouterr().out
        assert words in out
        assert f"recorded    {record['decision']}" in out
        assert record["detail"] in out
    assert run(*call, "0" * 32) == 1
    assert "no record of the decision" in capsys.readouterr().err


def test_a_terminal_is_not_obeyed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What clients chose is shown with its control characters written out."""
    record = dict.fromkeys(("reason", "principal", "issuer", "mode", "rule"), "")
    record |= dict.fromkeys(("principal_rule", "policy_version", "token_id", "proxy"), "")
    record |= {"agent": TRAVEL, "decision": "deny", "detail": "a\x1b[2Jb", "host": "h"}
    lists: dict[str, object] = {name: [] for name in ("actors", "flags", "scopes")}
    rest = {"method": "GET", "path": "/", "decision_id": "d1", "time": "2026-11-25T10:00:00Z"}
    log = config.with_name("log")
    log.write_text("cut off d1\n" + json.dumps(record | lists | rest) + "\n")

    assert run("explain", str(config), "--audit", str(log), "--decision-id", "d1") == 1
    assert "a\\x1b[2Jb" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give METHOD and URL"),
        (["GET"], "give METHOD and URL"),
        (["GET", URL], "--agent"),
        (["GET", "/a", "--agent", "x"], "not a URL"),
        (["--audit", "f"], "go together"),
        (["--check-request", "f", "--agent", "x"], "leave them out"),
        (["--check-request", "f", "--audit", "f", "--decision-id", "a"], "one of"),
        (["GET", URL, "--agent", "x", "--claim", "a"], "NAME=VALUE"),
        (["GET", URL, "--agent", "x", "--token-age", "5"], "not an age"),
    ],
)
def test_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments that say no one question are a usage error with a clear text."""
    with pytest.raises(SystemExit) as caught:
        run("explain", "c.yaml", *arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_the_config_of_the_environment(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AUTHZ_CONFIG stands for CONFIG here as well."""
    monkeypatch.setenv("AUTHZ_CONFIG", str(config))
    assert run("explain", "GET", URL, "--agent", TRAVEL, "--principal", "alice") == 1


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For machines the decision is told as audit records have it, with the same exit status."""
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice", "--json"]
    assert run(*call, "--scope", READ) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["decision"], told["principal_rule"]) == ("allow", "finance-read/0")
    assert told["policy_version"] == compute_policy_version(load(config))
    assert "ALLOW" in told["lines"]
    assert run(*call) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["decision"], told["reason"], told["rule"]) == ("deny", "scope", "finance-read/0")
    assert told["detail"] == "finance-read/0: the scope balance:read is missing"


def test_a_candidate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the candidate would say is told beside, and a broken one with its place."""
    text = config.read_text()
    candidate = config.with_name("candidate.yaml")
    elsewhere = LAB.with_((*AT_READ_RULE, "paths"), ["/other/**"])
    elsewhere = elsewhere.with_(("routes", "finance", "paths"), ["/other/**"])
    candidate.write_text(elsewhere.edit(text))
    config.write_text(f"candidate: {candidate}\n{text}")
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice"]
    assert run(*call, "--scope", READ) == 0
    assert "candidate in shadow: deny policy_denied" in capsys.readouterr().out
    candidate.write_text("agents: [\n")
    assert run(*call, "--scope", READ) == 1
    assert "candidate.yaml:" in capsys.readouterr().err


def test_what_only_a_candidate_reads(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of a CheckRequest the headers of the candidate's rules are read, too: the server does so."""
    candidate = tmp_path / "candidate.yaml"
    needs_header = LAB.with_((*AT_READ_RULE, "headers"), {"x-tenant": ["red"]})
    candidate.write_text(needs_header.edit(world.config_text))
    config = tmp_path / "c.yaml"
    config.write_text(f"candidate: {candidate}\n{world.config_text}")
    sent = [("authorization", f"Bearer {world.token()}"), ("x-tenant", "red")]
    for headers, differs in ((sent, False), (sent[:1], True)):
        file = tmp_path / "token-message"
        file.write_bytes(check_request(world.svid, headers).SerializeToString())
        assert run("explain", str(config), "--check-request", str(file)) == 0
        assert ("candidate in shadow" in capsys.readouterr().out) == differs


def test_in_shadow(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the server: allowed, with what the rules would have said; but not who is suspended."""
    config.write_text(f"shadow: true\n{config.read_text()}")
    call = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--principal", "alice"]
    assert run(*call) == 0
    told = capsys.readouterr().out
    assert "policy in shadow: deny finance-read/0" in told
    assert "nearest miss: finance-read/0: the scope balance:read is missing" in told
    assert told.splitlines()[-2:] == [
        "            by no rule: shadow: true allows what the rules refuse",
        "ALLOW",
    ]
    edit(config, LAB.with_(("agents", TRAVEL, "suspended"), value=True))
    assert run(*call) == 1
    assert "DENY        agent_suspended" in capsys.readouterr().out
