"""The man page: made from the parser, the same each time, and readable by man."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.parsed_verbs import verbs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "man" / "authz.1"


def test_all_verbs_are_on_the_page() -> None:
    """Each verb has a section, and its examples; each of its flags is explained."""
    plain = PAGE.read_text().replace("\\-", "-")
    for name, parser, _ in verbs():
        assert f".SS \\fB{name}\\fR" in plain, name
        assert f".SS {name}\n.nf\n" in plain
        for option in parser._option_string_actions:
            assert f"\\fB{option}\\fR" in plain or option in ("-h", "--help"), (name, option)


def test_no_day_is_on_the_page(tmp_path: Path) -> None:
    """Whoever makes the page, on whatever day and terminal, makes the same bytes."""
    script = "from generating.man_page import man_page; print(man_page(), end='')"
    for environment in ({"SOURCE_DATE_EPOCH": "1"}, {"COLUMNS": "300", "AUTHZ_CONFIG": "a.yaml"}):
        path = f"{ROOT}:{ROOT / 'docs'}"
        made = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": path, **environment},
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
        assert made.stdout == PAGE.read_bytes()


def test_man_shows_it() -> None:
    """Man formats the page without a warning, and examples stand there to be copied."""
    man = shutil.which("man")
    if man is None:
        pytest.skip("no man: install Debian's man-db")
    shown = subprocess.run(
        [man, "--warnings", "-P", "cat", "-l", str(PAGE)],
        env={**os.environ, "MANWIDTH": "100", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "minimized" in shown.stdout + shown.stderr:  # a container's man prints this for any page
        pytest.skip("man was left out of this system")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "authz explain authz.yaml --check-request request.json\n" in shown.stdout
    assert "  source <(authz completion bash)    # in ~/.bashrc\n" in shown.stdout


def test_the_wheel_has_it() -> None:
    """The wheel puts the page where man looks, and the image's build gets the file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    name = str(PAGE.relative_to(ROOT))

    assert shared[name] == "share/man/man1/authz.1"
    assert f"COPY {name} {name}" in (ROOT / "Dockerfile").read_text()
    assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()
