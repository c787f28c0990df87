"""The docs are true: examples run, links lead somewhere, generated pages are current."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from authz import cli
from authz.config import load, load_text, schema
from authz.starter.marks import TRY_OUT_ISSUER
from lab.issuer import sign_json
from support.issuer_pages import is_config
from support.token_shapes import new_issuer

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_NAMED = re.compile(r"`((?:authz|bench|deploy|docs|envoy|lab|protos|tests)/[\w./-]*)`")
_BLOCK = re.compile(r"(?:<!-- test(?:: (\d))? -->\n)?```(\w+)\n(.*?)```", re.DOTALL)

# The parts of configs in the docs are for an issuer and a resource of this name.
PARTS_ASSUME = {
    TRY_OUT_ISSUER: "https://as.corp.example",
    "https://localhost:8443": "https://mcp.corp.example/finance",
}


def blocks(language: str) -> list[tuple[Path, str | None, str, bool]]:
    """Page, expected status, text and whether it is marked, of every block of a language."""
    return [
        (page, match[1], match[3], match[0].startswith("<!-- test"))
        for page in PAGES
        for match in _BLOCK.finditer(page.read_text())
        if match[2] == language
    ]


def readme_config() -> str:
    """The README's config to copy."""
    found = (text for page, _, text, _ in blocks("yaml") if page.name == "README.md")
    return next(text for text in found if is_config(text))


def test_config_examples() -> None:
    """Every config in the docs is one that is taken."""
    examples = [text for _, _, text, _ in blocks("yaml") if is_config(text)]

    assert len(examples) >= 2
    for text in examples:
        load_text(text.encode(), "example")


def test_parts_of_a_config() -> None:
    """Every part of a config in the docs is taken, put into a good one."""
    text = readme_config()
    for ours, theirs in PARTS_ASSUME.items():
        text = text.replace(ours, theirs)
    base = yaml.safe_load(text)
    texts = [text for _, _, text, _ in blocks("yaml") if not text.startswith("# teams/")]
    sections = schema()["properties"].keys()
    parts = [yaml.safe_load(text) for text in texts]
    known = [
        part
        for part in parts
        if part.keys().isdisjoint({"server", "include"}) and part.keys() <= sections
    ]

    assert len(known) >= 4
    for part in known:
        text = yaml.safe_dump({**base, **part})
        load_text(text.encode(), "example")


def test_a_config_over_files(tmp_path: Path) -> None:
    """The files of a config that the docs split are taken together."""
    main = readme_config()
    include = next(t for _, _, t, _ in blocks("yaml") if t.startswith("include:"))
    team = next(t for _, _, t, _ in blocks("yaml") if t.startswith("# teams/"))
    (tmp_path / "authz.yaml").write_text(include + main)
    for name in (team.split()[1], "policy.d/other.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(team if "teams" in name else "agents: []\n")

    assert "booking" in load(tmp_path / "authz.yaml").grants


def test_commands_in_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tutorial's marked commands end with the status that it says."""
    page = ROOT / "docs" / "tutorial.md"
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "try"]) == 0
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    marked = [(status, text) for p, status, text, is_test in blocks("sh") if is_test and p == page]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    assert len(marked) == 3
    for status, text in marked:
        result = subprocess.run(
            ["sh", "-c", text], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert result.returncode == int(status or 0), (text, result)


def test_changing_a_policy(tmp_path: Path) -> None:
    """The marked command on changing a policy ends as it says, with the page's cases."""
    page = ROOT / "docs" / "howto" / "change-policy.md"
    config = next(t for p, _, t, _ in blocks("yaml") if p.name == "tutorial.md")
    cases = next(t for p, _, t, _ in blocks("yaml") if p == page and t.startswith("cases:"))
    ((status, text),) = [(s, t) for p, s, t, marked in blocks("sh") if p == page and marked]
    (tmp_path / "authz.yaml").write_text(config)
    (tmp_path / "cases.yaml").write_text(cases)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    result = subprocess.run(
        ["sh", "-c", text], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert result.returncode == int(status or 0), result


def test_a_refused_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page on refused tokens shows what its commands print, and its block takes the token."""
    page = ROOT / "docs" / "howto" / "refused-token.md"
    config, block = (text for path, _, text, _ in blocks("yaml") if path == page)
    (claims,) = (text for path, _, text, _ in blocks("json") if path == page)
    (output,) = (text for path, _, text, _ in blocks("text") if path == page)
    _, first, second = (text for path, _, text, _ in blocks("sh") if path == page)
    issuer = new_issuer()
    key = replace(issuer.current, key_id="k1")
    header = {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    monkeypatch.chdir(tmp_path)
    Path("jwks.json").write_text(json.dumps({"keys": [key.jwk()]}))
    Path("token.jwt").write_text(sign_json(key, header, json.loads(claims)))
    Path("authz.yaml").write_text(config)

    assert cli.main(first.split()[1:]) == 1
    assert capsys.readouterr().out == output
    assert cli.main(second.split()[1:]) == 1
    assert capsys.readouterr().out.endswith(f"\n\n{block}")
    taken = {**yaml.safe_load(config), **yaml.safe_load(block)}
    Path("authz.yaml").write_text(yaml.safe_dump(taken))
    assert cli.main(first.split()[1:]) == 0


def test_the_job_in_ci(tmp_path: Path) -> None:
    """The job passes for a reviewed config, and fails when another principal gains the right."""
    page = ROOT / "docs" / "howto" / "ci.md"
    config = next(t for p, _, t, _ in blocks("yaml") if p.name == "tutorial.md")
    cases = next(t for p, _, t, _ in blocks("yaml") if t.startswith("cases:"))
    ((_, job),) = [(s, t) for p, s, t, marked in blocks("sh") if p == page and marked]
    config = config.replace(TRY_OUT_ISSUER, PARTS_ASSUME[TRY_OUT_ISSUER])
    (tmp_path / "cases.yaml").write_text(cases)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(script: str, config: str) -> int:
        (tmp_path / "authz.yaml").write_text(config)
        command = ["sh", "-c", script]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode

    answer = next(line for line in job.splitlines() if "who-can" in line)
    assert run(answer.replace("now.json", "who-can.json"), config) == 0
    assert run(job, config) == 0
    assert run(job, config.replace("subjects: [alice]", "subjects: [alice, mallory]")) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every link to a file of ours leads to one."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_first_lines(page: Path) -> None:
    """Every page begins with its title, and then says in a sentence what it is for."""
    title, *lines = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL).split("\n")
    first = next(line for line in lines if line)

    assert title.startswith("# ")
    assert re.match(r"(?![0-9]+\.|```)[\w`*\[]", first), first


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named(page: Path) -> None:
    """Every file and folder of ours that a page names is there, tests that hold a promise too."""
    for name in _NAMED.findall(page.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_first_configs_leave_no_doubt(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The configs that a newcomer copies first leave no doubt but that they are for trying."""
    texts = [text for path, _, text, _ in blocks("yaml") if path == ROOT / page]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "try"]) == 0
    Path("authz.yaml").write_text(next(text for text in texts if is_config(text)))

    assert cli.main(["check", "authz.yaml"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert all("authz init made its key, for trying" in line for line in warnings)


def test_generated_pages_are_current() -> None:
    """The reference pages and the schema are what the code makes."""
    script = str(ROOT / "docs" / "generate.py")
    result = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )

    assert result.stdout == ""
    assert result.returncode == 0


def test_the_demo_in_the_readme() -> None:
    """The README's number of demo requests is that of the demo."""
    acts = [(ROOT / "lab" / name).read_text() for name in ("demo.py", "demo_mcp.py", "demo_sts.py")]
    count = sum(len(re.findall(r"^        [Ll]ine\(", act, re.MULTILINE)) for act in acts)

    assert f"{count} requests" in (ROOT / "README.md").read_text()
