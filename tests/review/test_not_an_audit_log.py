"""What operators are told who give a review a file that is no audit log."""

import gzip
from pathlib import Path

import pytest

from support.verbs import run, write_config

ACCESS_LOG = '[2026-11-29T10:00:00Z] "GET /orders HTTP/2" 200 - "-" "curl" 10.0.0.7\n' * 30
OWN_LOG = '{"time":"2026-11-29T10:00:00Z","level":"info","logger":"authz.server","message":"x"}\n'
CURE = "name a file that audit.path of a config has had written"
FILES = {
    "a config": (b"trust_domains: [corp.example]\nagents: []\n", "a config"),
    "an access log": (ACCESS_LOG.encode(), "another kind of file"),
    "the server's own log": (OWN_LOG.encode(), "the server's own log"),
    "a binary": (b"\x7fELF\x02\x01\x00\x00" * 99, "a binary file"),
    "a packed access log": (gzip.compress(ACCESS_LOG.encode()), "another kind of file"),
    "JSON in lines": (b'{"a": 1}\n{"a": 2}\n', "another kind of file"),
}
VERBS = {
    "replay": ("--audit",),
    "suggest": ("--audit",),
    "explain": ("--decision-id", "x", "--audit"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", FILES)
def test_another_kind_of_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, verb: str
) -> None:
    """It is told in one line what the file is, and what an audit log is."""
    data, what = FILES[kind]
    path = tmp_path / "given"
    path.write_bytes(data)

    assert run(verb, str(write_config(tmp_path)), *VERBS[verb], str(path)) != 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1, told
    assert f"{path} is not an audit log but {what}" in told[0]
    assert CURE in told[0]


@pytest.mark.parametrize("verb", ["replay", "suggest"])
def test_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    """A log without records judges nothing, and that is told: it may be a new one."""
    path = tmp_path / "given"
    path.write_bytes(b"")
    run(verb, str(write_config(tmp_path)), "--audit", str(path))

    told = capsys.readouterr().err
    assert "no record was read" in told
    assert CURE in told
