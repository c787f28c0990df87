"""The search for tokens finds one, whole or in part, wherever it is; and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.issuer import Issuer
from support.canary import WINDOW, anchors, leaks

TOKEN = Issuer("https://as.example", "aud").token("spiffe://a/b")
LEAKING = """\
import logging
from pathlib import Path
from support.canary import canary
from lab.issuer import Issuer

TOKEN = Issuer("https://as.example", "aud").token("spiffe://a/b")

def test_it(tmp_path, capsys):
    {statement}
"""
CONFTEST = """\
from support.canary import canary

def pytest_configure(config):
    config.pluginmanager.register(canary)
"""


def run(folder: Path, statement: str, workers: int) -> subprocess.CompletedProcess[str]:
    """Run two tests, of which one does that: in so many processes, or in pytest's own."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_leak.py").write_text(LEAKING.format(statement=statement))
    (folder / "test_other.py").write_text(LEAKING.format(statement="pass"))
    here = Path(__file__).parents[1]
    plugins = ["-p", "xdist", "-n", str(workers)] if workers else []
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, "."],
        cwd=folder,
        env={
            "PYTHONPATH": f"{here}:{here.parent}",
            "PATH": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("part", range(3))
def test_parts_are_found(part: int) -> None:
    """The beginning or the end of any segment is enough, whatever stands around it."""
    segment = TOKEN.split(".")[part].encode()
    known = anchors([TOKEN])

    for text in (segment, b"x" + segment[:WINDOW], segment[-WINDOW:] + b"x", b"a=" + segment):
        assert leaks(b"before " + text + b" after", known)
    assert not leaks(segment[: WINDOW - 1] + b" " + b"x" * 100, known)


def test_a_part_is_found_at_any_place() -> None:
    """The search looks at every seventeenth place first, and misses none in between."""
    known = anchors([TOKEN])
    for part in known:
        for before in range(2 * WINDOW):
            run = b"x" * before + part
            assert leaks(run + b"y" * WINDOW, known)
            assert not leaks(run[:-1], known - {part})


def test_a_token_of_another_maker_is_found() -> None:
    """A whole signed JWT is a leak although the lab has not made it; a part of one is none."""
    assert leaks(b"token: " + TOKEN.encode() + b"\n", set())
    assert not leaks(b"token: eyJhbGciOi...", set())


@pytest.mark.parametrize(
    ("statement", "status", "workers"),
    [
        ("pass", 0, 0),
        ("print('decision', 'a' * 100)", 0, 0),
        ("print(TOKEN)", 1, 0),
        ("logging.getLogger('authz').warning('x', extra={'token': TOKEN[:40]})", 1, 0),
        ("logging.getLogger('authz').debug('bad: %s', TOKEN)", 1, 0),
        ("(tmp_path / 'audit.jsonl').write_text(TOKEN.rpartition('.')[2])", 1, 0),
        ("(tmp_path / 'token').write_text(TOKEN)", 0, 0),  # an input
        ("canary.note('answer', TOKEN.encode())", 1, 0),
        ("import shutil; shutil.rmtree(tmp_path.parent)", 2, 0),  # nobody can search it any more
        ("print(TOKEN)", 1, 2),
        ("logging.getLogger('authz').debug('bad: %s', TOKEN)", 1, 2),
        ("(tmp_path / 'audit.jsonl').write_text(TOKEN.rpartition('.')[2])", 1, 2),
        ("import shutil; shutil.rmtree(tmp_path.parent)", 2, 2),
        ("import os; os._exit(0)", 2, 2),  # what it knew died with it
    ],
)
def test_a_leak_fails_the_run(tmp_path: Path, statement: str, status: int, workers: int) -> None:
    """A run whose tests all pass fails when a token is in its output, and does not repeat it."""
    result = run(tmp_path, statement, workers)

    assert result.returncode == min(status, 1), result.stdout
    assert ("A TOKEN LEAKED" in result.stdout) == (status == 1)
    assert ("NOT SEARCHED" in result.stdout) == (status == 2)
    assert "Traceback" not in result.stdout
    assert "eyJ" not in result.stdout


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_searched_is_counted(tmp_path: Path, workers: int) -> None:
    """A clean run says how much it searched: the tokens of all processes, and all they said."""
    result = run(tmp_path, "canary.note('answer', b'x')", workers)

    tokens = 2 * max(workers, 1)  # each process that collects the two tests signs two
    assert f"no part of {tokens} tokens in any output (1 and files)" in result.stdout
