"""Agents by their SVID alone: check warns of them, and the other verbs decide as the server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz import cli
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import ISSUER, PAYMENTS, RETIRED, TRAVEL
from support.verbs import edit, run, write_config
from support.world import World, check_request, reason_of

DOMAIN = "spiffe://corp.example"
RUN, TELL = "https://mcp.corp.example/batch/run", "https://mcp.corp.example/batch/tell"
PAY = "https://mcp.corp.example/finance/balance"
ROUTE = "- {name: nightly, paths: [/batch/**], modes: [autonomous]}"
RULES = """\
- {hosts: ["*"], methods: [GET], paths: [/batch/run], scopes: []}
- {hosts: ["*"], methods: [GET], paths: [/batch/tell], scopes: [tell]}
- {name: closed, effect: deny, hosts: ["*"], methods: [GET], paths: [/batch/closed]}
"""
BARRED = '- {name: no, effect: deny, hosts: ["*"], methods: [GET], paths: [/batch/run]}'
CHANGES = (
    LAB.with_routes(ROUTE)
    .with_grant("batch", RULES)
    .with_grant("barred", BARRED)
    .with_(("agents", TRAVEL, "grants"), ["batch"])
    .with_(("agents", PAYMENTS, "grants"), ["batch"])
    .with_(("agents", RETIRED, "grants"), ["batch"])
    .with_principals(f"""\
- {{match: {{issuer: "{DOMAIN}", subjects: ["{PAYMENTS}"]}}, grants: [barred]}}
- {{match: {{issuer: {ISSUER}, subjects: ["{TRAVEL}"]}}, grants: [batch]}}
""")
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The lab's config, with a route on which an SVID alone is enough."""
    path = write_config(tmp_path)
    edit(path, CHANGES)
    return path


def warnings(path: Path, changes: ConfigBuilder, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What ``authz check`` warns of about agents without a token."""
    edit(path, changes)
    assert run("check", str(path)) == 0
    return [line for line in capsys.readouterr().err.splitlines() if "routes[0]" in line]


AT = ("routes", 0)
WARNED = [
    (LAB, "routes[0]: without a token these agents may act here by their SVID alone"),
    (LAB, f"by rules without scopes: {TRAVEL} by batch/0, {PAYMENTS} by batch/0; write token"),
    (LAB.with_((*AT, "token"), "optional"), ""),
    (LAB.with_((*AT, "token"), "required"), ""),
    (LAB.with_((*AT, "modes"), ["autonomous", "delegated"]), ""),
    (LAB.with_((*AT, "proof"), "required"), ""),
    (LAB.with_((*AT, "paths"), ["/batch/tell/**"]), ""),  # every rule about it needs a token
    (LAB.with_((*AT, "paths"), ["/batch/*"]), "routes[0]: without a token"),
    (LAB.with_((*AT, "hosts"), ["other.example"]), "routes[0]: without a token"),
    (LAB.with_(("grants", "batch", 0, "hosts"), ["a"]).with_((*AT, "hosts"), ["b"]), ""),
    (LAB.with_(("grants", "batch", 0, "max_token_age"), "5m"), ""),
    (LAB.with_(("grants", "batch", 0, "acr_values"), ["mfa"]), ""),
    (LAB.with_(("grants", "batch", 0, "shadow"), True), ""),
    (LAB.with_((*AT, "protocol"), "mcp"), ""),
    (
        LAB.with_((*AT, "protocol"), "mcp").with_((*AT, "bootstrap"), ["initialize"]),
        "routes[0].bootstrap: no call here needs a token: it has no effect",
    ),
    (
        LAB.with_agents(
            "".join(f"- {{id: {DOMAIN}/a{number}, grants: [batch]}}\n" for number in range(3))
        ),
        f"{DOMAIN}/a2 by batch/0 and others; write",
    ),
]


@pytest.mark.parametrize(("changes", "told"), WARNED)
def test_check_warns(
    config: Path, capsys: pytest.CaptureFixture[str], changes: ConfigBuilder, told: str
) -> None:
    """A route that takes an SVID alone says whom it lets in, until the config says it is meant."""
    found = warnings(config, changes, capsys)

    assert len(found) == bool(told)
    assert told in "".join(found)


def test_check_warns_of_entries_without_effect(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An entry can only take from agents by their SVID alone: one that allows has no effect."""
    assert run("check", str(config)) == 0
    assert "principals[0]" not in capsys.readouterr().err
    edit(config, LAB.with_(("principals", 0, "grants"), ["batch", "public"]))
    assert run("check", str(config)) == 0
    assert "principals[0]" not in capsys.readouterr().err  # batch has a deny
    edit(config, LAB.with_(("principals", 0, "grants"), ["public"]))
    assert run("check", str(config)) == 0
    assert "principals[0]: an agent by its SVID alone has its own" in capsys.readouterr().err


BUNDLES = [
    ("kind: spire", "corp.example", ""),
    ("typ: [JWT]", "corp.example", ""),
    ("typ: [JOSE]", "corp.example", ""),
    ("max_actors: 1", "corp.example", "keys.spiffe_bundle: it accepts no JWT-SVID"),
    ("kind: spire", "other.example", "spiffe_bundle.trust_domain: not one of trust_domains"),
]


@pytest.mark.parametrize(("more", "domain", "told"), BUNDLES)
def test_check_warns_of_bundles(
    config: Path, capsys: pytest.CaptureFixture[str], more: str, domain: str, told: str
) -> None:
    """A bundle of which no JWT-SVID can be accepted is probably not what was meant."""
    keys = f"{{spiffe_bundle: {{trust_domain: {domain}, endpoint: 'https://b.example'}}}}"
    issuer = f"- {{issuer: spire, keys: {keys}, audiences: [a], algorithms: [ES256], {more}}}"
    entry = "- {match: {issuer: spire}, grants: [batch]}"
    edit(config, LAB.with_items(("issuers",), issuer).with_items(("principals",), entry))
    run("check", str(config))
    found = [line for line in capsys.readouterr().err.splitlines() if "issuers[0]" in line]

    assert len(found) == bool(told)
    assert told in "".join(found)


def explained(
    config: Path, capsys: pytest.CaptureFixture[str], url: str, *more: str, agent: str = TRAVEL
) -> tuple[int, str]:
    """The exit status and the output of ``authz explain``."""
    status = run("explain", str(config), "GET", url, "--agent", agent, *more)
    return status, capsys.readouterr().out


def test_explain_asks_as_the_agent_does(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing said of a token the agent has none, where the route takes its SVID alone."""
    status, out = explained(config, capsys, RUN)
    assert status == 0
    assert f"2 acts for  {TRAVEL} of {DOMAIN} (by its SVID alone)" in out
    assert "agent by batch/0, principal by its own rules alone" in out
    assert "principal " not in out.partition("3 policy")[2].partition("agent by")[0]

    status, out = explained(config, capsys, TELL)
    assert status == 1
    assert "DENY        token_missing: no token was sent; batch/1: the scope tell is missing" in out
    assert "scope needed: tell" in out


def test_explain_shows_what_the_principals_entry_takes(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The entry of the agent as a principal is shown, with the deny that it brings."""
    status, out = explained(config, capsys, RUN, agent=PAYMENTS)

    assert status == 1
    assert f"principal principals[0] ({DOMAIN}; subjects {PAYMENTS})" in out
    assert "denied by: barred/no, which the principal holds" in out
    assert "DENY        policy_denied: barred/no denies it" in out


def test_explain_can_assume_a_token(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A word of a token assumes one; so does a route that needs one."""
    _, out = explained(config, capsys, TELL, "--scope", "tell")
    assert f"2 acts for  {TRAVEL} of {ISSUER} (assumed" in out
    assert "ALLOW" in out

    edit(config, LAB.with_(("routes", 0, "token"), "required"))
    _, out = explained(config, capsys, RUN)
    assert f"2 acts for  {TRAVEL} of {ISSUER} (assumed" in out
    assert "principal by batch/0" in out


def test_who_can(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The agents that need no token come first, where the route takes their SVID alone."""
    assert run("who-can", str(config), "GET", RUN) == 0
    first, _, rest = capsys.readouterr().out.partition("agents, acting for")
    assert first.startswith("agents, for themselves by their SVID alone\n")
    assert TRAVEL in first
    assert RETIRED not in first
    assert "barred/no denies it" in rest

    run("who-can", str(config), "GET", TELL)
    assert "alone" not in capsys.readouterr().out
    edit(config, LAB.with_(("routes", 0, "token"), "required"))
    run("who-can", str(config), "GET", RUN)
    assert "alone" not in capsys.readouterr().out


CASE = f"""\
cases:
  - {{name: a, agent: "{TRAVEL}", token: false, method: GET, url: "{RUN}", expect: allow}}
  - {{name: b, agent: "{TRAVEL}", token: false, method: GET, url: "{TELL}", expect: token_missing}}
  - {{name: c, agent: "{PAYMENTS}", token: false, method: GET, url: "{RUN}", expect: deny}}
"""


def test_cases_without_a_token(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``authz test`` asks as an agent without a token, and says what only a token can say."""
    cases = config.parent / "cases.yaml"
    cases.write_text(CASE)
    assert cli.main(["test", str(config), str(cases)]) == 0
    assert "3 of 3 as expected" in capsys.readouterr().out

    cases.write_text(CASE.replace("token: false", "token: false, scopes: [tell]", 1))
    assert cli.main(["test", str(config), str(cases)]) == 1
    assert "with token: false nothing says scopes: leave it out" in capsys.readouterr().err


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A core with the same route, which writes records."""
    with World(tmp_path, CHANGES) as world:
        yield world


def test_records_are_decided_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A record without a token is replayed and explained as such; with a token, as with one."""
    bare = check_request(world.svid, [], path="/batch/run")
    assert reason_of(world.check(bare)) == "allow"
    assert reason_of(world.ask(world.token(sub=TRAVEL, act=None), path="/batch/run")) == "allow"
    assert reason_of(world.check(check_request(world.svid, [], path="/batch/tell")))
    config, old = world.folder / "authz.yaml", world.folder / "old.yaml"
    for path in (config, old):
        path.write_text(world.config_text)
    log = str(world.audit_path)
    decision = world.audit_records()[0]["decision_id"]

    edit(config, LAB.with_(("principals", 1, "grants"), ["public"]))  # of tokens alone
    assert run("replay", str(config), "--audit", log, "--old", str(old), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["unchanged"], told["newly_denied"]["count"]) == (2, 1)

    assert run("explain", str(config), "--audit", log, "--decision-id", decision) == 0
    assert "(by its SVID alone)" in capsys.readouterr().out
    edit(config, LAB.with_(("routes", 0, "token"), "required"))
    assert run("explain", str(config), "--audit", log, "--decision-id", decision) == 1
    assert "DENY        token_missing: the route requires a token" in capsys.readouterr().out
