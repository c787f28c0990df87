"""A corpus of configs as people break them: each is told with its line, its cause and its cure."""

import os
import re
from pathlib import Path

import pytest

from support.broken import BASE, BROKEN, HERE, WHOLE, Broken
from support.verbs import run

ROWS = [
    pytest.param(row, id=f"{kind}-{number}")
    for kind, rows in BROKEN.items()
    for number, row in enumerate(rows)
]
# Phrases of the libraries that read configs, which say nothing to an operator.
FOREIGN = re.compile(
    r"(?i)input should|value is not|mapping values are not|found character|did not find|"
    r"block mapping|flow sequence|scanning|parsing a|extra inputs|field required|"
    r"syntax error|token recognition|mismatched input|undeclared|type=|pydantic|pyyaml|"
    r"traceback|\btuple\b|\bdict\b|\bstr\b|\bint\b"
)


def told(capsys: pytest.CaptureFixture[str], path: Path) -> list[str]:
    """Return the lines that ``authz check`` tells of a config, from its folder."""
    assert run("check", str(path)) == 1
    lines = capsys.readouterr().err.replace(f"{path.parent}/", "").splitlines()
    assert not [line for line in lines if FOREIGN.search(line)]
    return lines


def test_the_base_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the corpus breaks has neither an error nor a warning."""
    (tmp_path / "authz.yaml").write_text(BASE)

    assert run("check", "--strict", str(tmp_path / "authz.yaml")) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if not line.startswith("note: ")] == []  # of the socket's folder


@pytest.mark.parametrize("row", ROWS)
def test_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str], row: Broken) -> None:
    """One mistake is one line, with file, line, cause and cure."""
    assert row.old in BASE
    text = BASE.replace(row.old, row.new, 1)
    (tmp_path / "authz.yaml").write_text(text.replace(HERE, ""))

    (found,) = told(capsys, tmp_path / "authz.yaml")
    line = text[: text.find(HERE)].count("\n") + 1 if HERE in text else r"[0-9]+"
    assert re.match(rf"authz\.yaml:{line}: ", found), found
    assert row.cause in found, found
    assert row.cure in found, found


@pytest.mark.parametrize("name", WHOLE)
def test_no_config(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A file that is no config at all is told as such."""
    (tmp_path / "authz.yaml").write_bytes(WHOLE[name].data)

    (found,) = told(capsys, tmp_path / "authz.yaml")
    assert found.startswith(f"authz.yaml:{WHOLE[name].line}: "), found
    assert WHOLE[name].cause in found, found
    assert WHOLE[name].cure in found, found


# What stands in include, the files there are, and what is told.
INCLUDES: dict[str, tuple[str, dict[str, str], str]] = {
    "missing": ("[none.yaml]", {}, "authz.yaml:1: include[0]: there is no file none.yaml"),
    "no match": ("[d/*.yaml]", {}, "authz.yaml:1: include[0]: no file in "),
    "text": ("a.yaml", {}, "authz.yaml:1: include: must be a list, not text: write [a.yaml]"),
    "a folder": ("[d]", {"d/a.yaml": ""}, "is a folder: name its files, d/*.yaml"),
    "a cycle": (
        "[a.yaml]",
        {"a.yaml": "include: [authz.yaml]\n"},
        "a.yaml:1: include: an included",
    ),
    "server": ("[a.yaml]", {"a.yaml": "server: {}\n"}, "other keys belong in the main file"),
    "rules": ("[a.yaml]", {"a.yaml": "rules: {}\n"}, "a.yaml:1: rules: unknown key; here it is"),
    "twice": (
        "[a.yaml]",
        {"a.yaml": "grants:\n  orders-read: []\n"},
        "a.yaml:2: grants.orders-read: orders-read is already defined in authz.yaml:34",
    ),
    "empty": ("[a.yaml]", {"a.yaml": ""}, "a.yaml:1: the file is empty"),
    "not YAML": (
        "[a.yaml]",
        {"a.yaml": "agents:\n\t- x\n"},
        "a.yaml:2: not YAML: a tab: YAML is indented with spaces only",
    ),
    "a template of Helm": (
        "[a.yaml]",
        {"a.yaml": "agents: []\n  {{- if .Values.x }}\nprincipals: []\n  {{- end }}\n"},
        "a.yaml:2: not YAML but a template: render it first, as with helm template",
    ),
    "a template of Ansible": (
        "[a.yaml]",
        {"a.yaml": "agents: []\n{% if x %}\nprincipals: []\n{% endif %}\n"},
        "a.yaml:2: not YAML but a template: render it first, as with helm template",
    ),
}


@pytest.mark.parametrize("name", INCLUDES)
def test_include(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """What is wrong with an included file is told in that file, or where it is included."""
    value, files, words = INCLUDES[name]
    (tmp_path / "authz.yaml").write_text(f"include: {value}\n{BASE}")
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)

    (found,) = told(capsys, tmp_path / "authz.yaml")
    assert words in found, found


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config that is missing, or a folder, is told in words."""
    assert "can't be read: No such file" in told(capsys, tmp_path / "none.yaml")[0]
    assert "can't be read: " in told(capsys, tmp_path)[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_no_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config that may not be read is told in words."""
    (tmp_path / "authz.yaml").write_text(BASE)
    (tmp_path / "authz.yaml").chmod(0)

    assert "can't be read: Permission denied" in told(capsys, tmp_path / "authz.yaml")[0]


def test_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A byte order mark and Windows' line ends are no mistake, and move no line."""
    path = tmp_path / "authz.yaml"
    path.write_bytes(("\ufeff" + BASE.replace("drain", "drian")).replace("\n", "\r\n").encode())

    assert told(capsys, path)[0].startswith("authz.yaml:3: server.drian: unknown key")
