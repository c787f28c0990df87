"""``authz check --elsewhere``: a config is checked on a machine that has not the server's files."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from authz.cli import main

CONFIG: Final = """\
server:
  listen: ["unix:@/authz.sock", "127.0.0.1:9191"]
  tls:
    certificate: @/server.pem
    private_key: @/server.key
    client_ca: @/clients.pem
    allowed_callers: ["spiffe://corp.example/ns/gateways/sa/*"]
trust_domains: [corp.example]
issuers:
  - issuer: https://as.corp.example
    keys: {file: @/jwks.json}
    audiences: [https://mcp.corp.example/finance]
  - issuer: https://kubernetes.corp.example
    keys: {jwks_uri: https://kubernetes.corp.example/jwks, token_file: @/token}
    audiences: [https://mcp.corp.example/finance]
agents:
  - {id: spiffe://corp.example/ns/agents/sa/travel, grants: [read]}
principals:
  - match: {issuer: https://as.corp.example}
    grants: [read]
  - match: {issuer: https://kubernetes.corp.example}
    grants: [read]
grants:
  read:
    - {hosts: [mcp.corp.example], methods: [GET], paths: [/read], scopes: []}
token: {dpop: {nonce_secret: @/nonce}}
revocations: {file: @/revoked.jsonl}
audit: {path: @/audit.jsonl}
key_cache: {folder: @/cache/keys}
"""
PLACES: Final = {
    "server.listen[0]",
    "server.tls.certificate",
    "server.tls.private_key",
    "server.tls.client_ca",
    "issuers[0].keys.file",
    "issuers[1].keys.token_file",
    "token.dpop.nonce_secret",
    "revocations.file",
    "audit.path",
    "key_cache.folder",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a config whose files are all in a folder that is not here."""
    path = tmp_path / "authz.yaml"
    path.write_text(CONFIG.replace("@", str(tmp_path / "none")))
    return path


def checked(config: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, Any]:
    """Check a config; return the exit status and the object that is printed."""
    status = main(["check", "--json", *flags, str(config)])
    (told,) = json.loads(capsys.readouterr().out)["configs"]
    return status, told["problems"]


def test_what_is_missing_here(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file, and each folder to write in, is a note with its line, and passes --strict too."""
    status, errors = checked(config, capsys)
    assert status == 1
    assert {one["severity"] for one in errors} == {"error"}

    status, notes = checked(config, capsys, "--elsewhere", "--strict")
    assert status == 0
    assert {one["severity"] for one in notes} == {"note"}
    assert {one["place"] for one in notes} == PLACES
    assert len(notes) == len(PLACES)
    for one in notes:
        assert one["line"] > 1
        assert one["message"].endswith(" here; it has to be there when it is served")


def test_what_is_here_is_looked_at(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is here and wrong is an error, beside others that are missing."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "revoked.jsonl").write_text("no JSON\n")
    (tmp_path / "none" / "jwks.json").write_text("{}")

    status, errors = checked(config, capsys, "--elsewhere")

    assert status == 1
    assert [one["place"] for one in errors] == ["issuers[0].keys.file", "revocations.file"]


def test_other_faults_stay(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What no machine could serve is an error, and what is regretted a warning, as anywhere."""
    text = config.read_text()
    config.write_text(text + 'admin: {listen: "127.0.0.1:9191"}\n')
    assert checked(config, capsys, "--elsewhere")[0] == 1

    config.write_text(text + "shadow: true\n")
    status, told = checked(config, capsys, "--elsewhere", "--strict")
    assert status == 1
    assert [one["place"] for one in told if one["severity"] == "warning"] == ["shadow"]
