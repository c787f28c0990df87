"""``authz suggest``: what it proposes is no wider than was seen, and allows all that was."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from world import World

from authz import cli
from authz.patterns import path_pattern
from authz.review.suggest import _narrowed, generalised
from lab.mesh import STRANGER

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
    path.write_text(config or world.config_text)
    assert cli.main(["suggest", str(path), "--audit", str(world.audit_path), *options]) == 0
    return capsys.readouterr().out


def replayed(world: World, config: str, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """What a config would change."""
    new, old = world.folder / "new.yaml", world.folder / "old.yaml"
    new.write_text(config)
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
    narrowed = world.config_text.replace(
        "paths: [/finance/**]\n      scopes", f"paths: {paths[1]}\n      scopes"
    )
    nothing = {"newly_allowed": 0, "newly_denied": 0, "undecidable": 0}
    assert replayed(world, narrowed, capsys) == nothing
    assert "wider" not in suggested(world, capsys, config=narrowed)


def test_what_was_denied(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """With --denied the smallest rules for it: as a file to include, they allow just that."""
    out = suggested(world, capsys, "--denied")
    assert "suggested-1:  # 2 requests" in out
    assert 'paths: ["/finance/payments/{id}"]' in out
    assert 'scopes: ["payments:write"]' in out
    (world.folder / "more.yaml").write_text(out)
    assert "# Add to the grants of the agent spiffe://corp.example/ns/agents/sa/travel: sug" in out
    more = world.config_text.replace(
        "[finance-read, public]", "[finance-read, public, suggested-1]"
    )
    changed = replayed(world, f"include: [more.yaml]\n{more}", capsys)
    assert changed == {"newly_allowed": 2, "newly_denied": 0, "undecidable": 0}


def test_what_shadow_would_have_denied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What only a policy in shadow refused is proposed as it is; it is no use of a rule."""
    with World(tmp_path, {"audit:": "shadow: true\naudit:"}) as world:
        paid = world.token(scope="payments:write")
        world.ask(paid, method="POST", path="/finance/payments/7")
        assert world.audit_records()[0]["decision"] == "allow"
        out = suggested(world, capsys)
    assert 'paths: ["/finance/payments/{id}"]' in out
    assert "# finance-pay/0: never used" in out


def test_an_agent_that_is_not_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For an agent that has no entry one is proposed."""
    with World(tmp_path) as world:
        world.svid = world.authority.issue(STRANGER)
        world.ask(world.issuer.token(STRANGER, scope="a"), principal=STRANGER)
        assert world.audit_records()[0]["reason"] == "agent_unknown"
        out = suggested(world, capsys, "--denied")
        (tmp_path / "more.yaml").write_text(out)
        changed = replayed(world, f"include: [more.yaml]\n{world.config_text}", capsys)
    assert f'{{id: "{STRANGER}", grants: [suggested-1]}}' in out
    assert changed == {"newly_allowed": 1, "newly_denied": 0, "undecidable": 0}


def test_a_deny_is_not_suggested_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a deny refuses is no lack of rules, and the deny is in use."""
    deny = "  public:\n    - {name: no, effect: deny, hosts: ['*'], methods: [POST], paths: [/**]}"
    with World(tmp_path, {"  public:": deny}) as world:
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


def test_a_diff_to_apply(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """As a diff it applies with git apply, and the config that comes of it changes no answer."""
    diff = suggested(world, capsys, "--diff", "--denied")
    assert not [line for line in diff.splitlines() if line.startswith("#")]
    here = diff.replace(f"{world.folder}/", "")
    done = subprocess.run(
        ["git", "apply", "-p0"], input=here, text=True, cwd=world.folder, check=False
    )
    assert done.returncode == 0
    config = (world.folder / "authz.yaml").read_text()
    assert 'paths: ["/finance/accounts/{id}", "/finance/balance"]' in config
    nothing = {"newly_allowed": 0, "newly_denied": 0, "undecidable": 0}
    assert replayed(world, config, capsys) == nothing
    assert "suggested-1:" in (world.folder / "suggested.yaml").read_text()


def test_a_list_over_lines_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A list that does not stand in one line is told beside the diff, with its place."""
    block = world.config_text.replace("paths: [/finance/**]\n", "paths:\n        - /finance/**\n")
    first, *_ = suggested(world, capsys, "--diff", config=block).splitlines()
    assert re.fullmatch(r"# .*authz\.yaml:\d+: paths could be \[.*\]", first)
