"""``authz suggest``: what it proposes is no wider than was seen, and allows all that was."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz import cli
from authz.core.patterns import path_pattern
from authz.review.suggestion.suggest import _narrowed
from authz.review.suggestion.used_operation import generalised
from lab.config_builder import AT_READ_RULE, LAB
from lab.mesh import STRANGER, TRAVEL
from support.world import READ, World

UUID = "0b7e5d0c-3a53-4f1e-9d56-0d4f3f1a2b3c"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A service with some traffic."""
    with World(tmp_path) as world:
        for path in ("/finance/balance", "/finance/accounts/17", f"/finance/accounts/{UUID}"):
            world.ask(world.token(), path=path)
        for number in range(2):
            paid = world.token(scope="payments:write")
            world.ask(paid, method="POST", path=f"/finance/payments/{number}")  # policy_denied
        world.ask(world.token(scope=""))  # scope: no rule would mend it
        assert len(world.audit_records()) == 6
        yield world


def suggested(
    world: World, capsys: pytest.CaptureFixture[str], *options: str, config: str | None = None
) -> str:
    """The output."""
    path = world.folder / "authz.yaml"
    path.write_bytes((config or world.config_text).encode())
    assert cli.main(["suggest", str(path), "--audit", str(world.audit_path), *options]) == 0
    return capsys.readouterr().out


def replayed(world: World, config: str, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """What a config would change."""
    new, old = world.folder / "new.yaml", world.folder / "old.yaml"
    new.write_bytes(config.encode())
    old.write_text(world.config_text)
    cli.main(["replay", str(new), "--audit", str(world.audit_path), "--old", str(old), "--json"])
    told = capsys.readouterr()
    assert not told.err
    report = json.loads(told.out)
    names = ("newly_allowed", "newly_denied", "undecidable")
    return {name: report[name]["count"] for name in names}


def test_a_rule_wider_than_its_use(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths that were seen stand in for the wide pattern, ids as {id}; nothing seen is lost."""
    out = suggested(world, capsys)
    assert "# finance-read/0: wider than its 3 uses" in out
    assert '#     paths: ["/finance/accounts/{id}", "/finance/balance"]' in out
    assert "# finance-pay/0: never used" in out
    assert "# public/0: never used" in out
    assert "suggested-1" not in out
    paths = re.search(r"#     paths: (.*)", out)
    assert paths is not None
    narrowed = LAB.with_yaml((*AT_READ_RULE, "paths"), paths[1]).edit(world.config_text)
    nothing = {"newly_allowed": 0, "newly_denied": 0, "undecidable": 0}
    assert replayed(world, narrowed, capsys) == nothing
    assert "wider" not in suggested(world, capsys, config=narrowed)


@pytest.mark.parametrize(
    ("hosts", "narrower"),
    [
        (["*.corp.example"], ""),
        (["*.corp.example", "*.t.example"], '["*.corp.example"]'),
        (["**.corp.example"], '["mcp.corp.example"]'),
    ],
)
def test_hosts_wider_than_their_use(
    world: World, capsys: pytest.CaptureFixture[str], hosts: list[str], narrower: str
) -> None:
    """One label stays a wildcard, as ``{id}`` does; for more the hosts that were seen stand in."""
    config = LAB.with_((*AT_READ_RULE, "hosts"), hosts).edit(world.config_text)
    out = suggested(world, capsys, config=config)

    assert ("#     hosts: " in out) == bool(narrower)
    assert narrower in out


def test_what_was_denied(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """With --denied the smallest rules for it: as a file to include, they allow just that."""
    out = suggested(world, capsys, "--denied")
    assert "suggested-1:  # 2 requests" in out
    assert 'paths: ["/finance/payments/{id}"]' in out
    assert 'scopes: ["payments:write"]' in out
    (world.folder / "more.yaml").write_text(out)
    assert "# Add to the grants of the agent spiffe://corp.example/ns/agents/sa/travel: sug" in out
    more = LAB.with_items(("agents", TRAVEL, "grants"), "[suggested-1]", before=2)
    more = more.with_(("include",), ["more.yaml"])
    changed = replayed(world, more.edit(world.config_text), capsys)
    assert changed == {"newly_allowed": 2, "newly_denied": 0, "undecidable": 0}


def test_what_shadow_would_have_denied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What only a policy in shadow refused is proposed as it is; it is no use of a rule."""
    with World(tmp_path, LAB.with_section("shadow", "true")) as world:
        paid = world.token(scope="payments:write")
        world.ask(paid, method="POST", path="/finance/payments/7")
        assert world.audit_records()[0]["decision"] == "allow"
        out = suggested(world, capsys)
    assert "suggested-1:  # 1 request\n" in out
    assert 'paths: ["/finance/payments/7"]' in out  # a single ID is no evidence for others
    assert "# finance-pay/0: never used" in out


def test_an_agent_that_is_not_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For an agent that has no entry one is proposed."""
    with World(tmp_path) as world:
        world.svid = world.authority.issue(STRANGER)
        world.ask(world.issuer.token(STRANGER, scope=READ), principal=STRANGER)
        assert world.audit_records()[0]["reason"] == "agent_unknown"
        out = suggested(world, capsys, "--denied")
        (tmp_path / "more.yaml").write_text(out)
        changed = replayed(world, f"include: [more.yaml]\n{world.config_text}", capsys)
    assert f'{{id: "{STRANGER}", grants: [suggested-1]}}' in out
    assert changed == {"newly_allowed": 1, "newly_denied": 0, "undecidable": 0}


def test_what_no_rule_can_name(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is proposed for who can't be named: a log that others write is no way to a rule."""
    record = next(one for one in world.audit_records() if one["reason"] == "policy_denied")
    for member in ("issuer", "principal", "host", "path"):
        for odd in ("a\x1b[2J", "a\x9b2J", "a\u202e", "*"):
            world.audit_path.write_text(json.dumps({**record, member: odd}) + "\n")
            out = suggested(world, capsys, "--denied")
            assert all(line.isprintable() for line in out.splitlines())
            assert "suggested-1" not in out or member in ("host", "path")


def test_a_deny_is_not_suggested_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a deny refuses is no lack of rules, and the deny is in use."""
    deny = "[{name: no, effect: deny, hosts: ['*'], methods: [POST], paths: [/**]}]"
    with World(tmp_path, LAB.with_rules("public", deny)) as world:
        world.ask(world.token(), method="POST")
        assert world.audit_records()[0]["rule"] == "public/no"
        out = suggested(world, capsys, "--denied")
    assert "suggested-1" not in out
    assert "public/no:" not in out


SEGMENTS = st.lists(
    st.sampled_from(["a", "b", "7", "8", UUID, "*", "**", "{x}", "x y", "ü"]),
    min_size=1,
    max_size=4,
).map(tuple)
PATTERNS = st.builds(
    lambda parts, rest: "/" + "/".join([*parts, *(["**"] if rest else [])]),
    st.lists(st.sampled_from(["a", "b", "*", "{x}", "7"]), min_size=1, max_size=3),
    st.booleans(),
)


@example("/7/**", ("7", "a"), ("8", "a"))
@given(PATTERNS, SEGMENTS, SEGMENTS)
def test_narrower(text: str, seen: tuple[str, ...], other: tuple[str, ...]) -> None:
    """A pattern that fits is cut to one that fits as well, and fits nothing that it did not."""
    narrowed = _narrowed(text, generalised(seen))
    if path_pattern(text).matches(seen):
        assert narrowed is not None
        assert path_pattern(narrowed).matches(seen)
    if narrowed is not None and path_pattern(narrowed).matches(other):
        assert path_pattern(text).matches(other)


def applied(world: World, diff: str) -> str:
    """The config after a diff was applied to it, in its own folder."""
    assert not [line for line in diff.splitlines() if line.startswith("#")]
    here = diff.replace(f"{world.folder}/", "")
    done = subprocess.run(
        ["patch", "-p0", "--binary", "--fuzz=0"],
        input=here.encode(),
        capture_output=True,
        cwd=world.folder,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return (world.folder / "authz.yaml").read_bytes().decode()


def block(text: str) -> str:
    """A config with some lists over several lines."""
    one, other = "paths: [/finance/**]\n", "grants: [finance-read, public]\n"
    assert one in text
    assert other in text
    text = text.replace(one, "paths:\n        - /finance/**\n", 1)
    return text.replace(other, "grants:\n    - finance-read\n    - public\n", 1)


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "lists over lines": block,
    "include": lambda text: f"include: [a b.yaml]\n{text}",
    "include over lines": lambda text: f"include:\n  - a b.yaml\n{text}",
    "no last line break": lambda text: f"# A comment.\n---\n{text}".rstrip(),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "other line breaks": lambda text: text.replace("\n", " # \u2028\n", 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_diff_to_apply(world: World, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """As a diff it is all that it takes: it narrows what was, and allows what was denied."""
    rule = "{hosts: ['*'], methods: [PUT], paths: [/**], scopes: []}"
    (world.folder / "a b.yaml").write_text(f"grants: {{more: [{rule}]}}\n")
    text = FORMS[form](world.config_text)
    config = applied(world, suggested(world, capsys, "--diff", "--denied", config=text))
    assert '"/finance/accounts/{id}"' in config
    assert "suggested-1:" in (world.folder / "suggested.yaml").read_text()
    changed = replayed(world, config, capsys)
    assert changed == {"newly_allowed": 2, "newly_denied": 0, "undecidable": 0}


def test_a_diff_beside_an_earlier_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What was suggested before is not overwritten, and nothing is included twice."""
    (world.folder / "suggested.yaml").write_text("agents: []\n")
    text = f'include: ["s*.yaml"]\n{world.config_text}'
    config = applied(world, suggested(world, capsys, "--diff", "--denied", config=text))
    assert 'include: ["s*.yaml"]' in config
    assert replayed(world, config, capsys)["newly_allowed"] == 2
    assert (world.folder / "suggested-2.yaml").exists()


@pytest.mark.parametrize(
    "written",
    [
        "paths:\n        - /finance/** # all\n",
        "paths:\n        [/finance/**]\n",
        "paths: [/finance/**] # was: paths: [/**]\n",
    ],
)
def test_a_list_in_another_form_is_told(
    world: World, capsys: pytest.CaptureFixture[str], written: str
) -> None:
    """A list that can't be replaced for certain is told beside the diff, with its place."""
    text = world.config_text.replace("paths: [/finance/**]\n", written, 1)
    first, *_ = suggested(world, capsys, "--diff", config=text).splitlines()
    assert re.fullmatch(r"# .*authz\.yaml:\d+: paths could be \[.*\]", first)


def test_what_a_rule_limits_is_not_proposed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that a rule refuses by its limits is counted: another rule would evade these."""
    changes = LAB.with_((*AT_READ_RULE, "max_actors"), 1)
    with World(tmp_path, changes) as world:
        earlier = {"act": {"sub": TRAVEL, "act": {"sub": STRANGER}}}
        world.ask(world.token(**earlier), path="/finance/balance")
        assert world.audit_records()[0]["reason"] == "policy_denied"
        out = suggested(world, capsys, "--denied")
    assert "# Refused by what finance-read/0 requires: 1. No rule is proposed" in out
    assert "suggested-1" not in out


def test_an_agent_by_its_svid_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an agent lacks for itself is added to its own grants, for requests without a token."""
    route = "[{name: batch, paths: [/batch/**], modes: [autonomous]}]"
    with World(tmp_path, LAB.with_routes(route)) as world:
        world.ask(None, path="/batch/run")
        assert world.audit_records()[0]["by_svid"]
        config = applied(world, suggested(world, capsys, "--diff", "--denied"))
        changed = replayed(world, config, capsys)
    assert "principals:" not in (tmp_path / "suggested.yaml").read_text()
    assert changed == {"newly_allowed": 1, "newly_denied": 0, "undecidable": 0}


def test_a_route_for_several_modes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where an agent may act in several modes, a rule is for the mode that was seen."""
    route = "[{name: both, paths: [/both/**], modes: [delegated, autonomous]}]"
    with World(tmp_path, LAB.with_routes(route)) as world:
        world.ask(world.token(), path="/both/run")
        record = world.audit_records()[0]
        suggested_config = applied(world, suggested(world, capsys, "--diff", "--denied"))
        changed = replayed(world, suggested_config, capsys)
        world.audit_path.write_text(json.dumps(record | {"mode": "autonomous"}) + "\n")
        of_its_own = replayed(world, suggested_config, capsys)

    assert changed == {"newly_allowed": 1, "newly_denied": 0, "undecidable": 0}
    assert of_its_own == {"newly_allowed": 0, "newly_denied": 0, "undecidable": 0}
