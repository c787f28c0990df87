"""Files that a config names: each that can't be used is told where it is named."""

from pathlib import Path

import pytest

from authz.cli import main
from lab.ca import Authority
from lab.mesh import CONFIG


def config(folder: Path, *, more: str = "", keys: str = "", audit: str = "-") -> Path:
    """A config in a folder, with what is to be added."""
    text = CONFIG.format(
        socket="/run/authz/authz.sock",
        admin_port=9192,
        drain="5s",
        jwks_uri="http://127.0.0.1:1/jwks",
        audit=audit,
    )
    path = folder / "authz.yaml"
    path.write_text(text.replace("    keys: {", f"    keys: {{{keys}") + more)
    return path


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What ``authz check`` says against a config, by what stands on the line that it names."""
    assert main(["check", str(path)]) == 1
    found = {}
    for said in capsys.readouterr().err.splitlines():
        file, line, message = said.split(":", 2)
        found[Path(file).read_text().splitlines()[int(line) - 1].strip()] = message.strip()
    return found


def test_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All files that are not there are told at once, each at the line that names it."""
    more = """\
candidate: /none/candidate.yaml
revocations:
  file: /none/revoked
pdp:
  url: https://pdp.corp.example/evaluation
  ca_file: /none/ca
  token_file: /none/token
token:
  dpop:
    nonce: required
    nonce_secret: /none/nonce
"""
    path = config(
        tmp_path, more=more, keys="\n      ca_file: /none/issuers-ca,\n", audit="/none/log"
    )
    found = told(path, capsys)

    missing = {line: text for line, text in found.items() if "can't be read: No such" in text}
    assert {line.rpartition("/")[2].rstrip(",") for line in missing} == {
        *("candidate.yaml", "revoked", "ca", "token", "nonce", "issuers-ca")
    }
    (audit,) = set(found) - set(missing)
    assert found[audit] == "audit.path: there is no folder /none"
    assert [text for text in missing.values() if text.endswith("begin with an empty file")] == [
        found["file: /none/revoked"]
    ]


def test_from_where_paths_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A relative path is told with the folder in which it was looked for."""
    found = told(config(tmp_path, more="candidate: none.yaml\n"), capsys)

    where = f"none.yaml can't be read in {Path.cwd()}, which relative paths start from: No such"
    assert found["candidate: none.yaml"].startswith(f"candidate: {where}")


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that hold something else than they should are told there too, and a candidate's own."""
    for name, text in {"revoked": '{"agnt": 1}\n', "nonce": "short", "ca": "no PEM"}.items():
        (tmp_path / name).write_text(text)
    candidate = config(tmp_path).rename(tmp_path / "candidate.yaml")
    candidate.write_text(candidate.read_text().replace("drain: 5s", "drain: 5"))
    more = f"""\
candidate: {candidate}
revocations:
  file: {tmp_path}/revoked
pdp: {{url: "https://pdp.corp.example/evaluation", ca_file: {tmp_path}/ca}}
token:
  dpop: {{nonce: required, nonce_secret: {tmp_path}/nonce}}
"""
    found = told(config(tmp_path, more=more), capsys)

    assert found[f"file: {tmp_path}/revoked"].endswith(
        "line 1: Object contains unknown field `agnt`"
    )
    assert found[f"dpop: {{nonce: required, nonce_secret: {tmp_path}/nonce}}"] == (
        "token.dpop.nonce_secret: has less than 32 bytes"
    )
    assert "pdp: ca_file: " in "".join(found.values())
    assert found["drain: 5"].startswith("server.drain: a duration must be")


CREDENTIALS = """
      ca_file: {folder}/ca.pem,
      token_file: {folder}/token,
      tls: {{certificate: {folder}/leaf-1.pem, private_key: {folder}/leaf-1.key}},
      discovery_url: "https://kubernetes.default.svc/.well-known/openid-configuration",
"""


def guarded(folder: Path) -> Path:
    """A config whose keys are fetched with a token and a certificate."""
    path = config(folder, keys=CREDENTIALS.format(folder=folder))
    open_place = 'jwks_uri: "http://127.0.0.1:1/jwks", insecure: true, '
    path.write_text(path.read_text().replace(open_place, ""))
    return path


def test_credentials_of_another_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Credentials that are mounted where the server runs need not be here: that is a warning."""
    authority = Authority(tmp_path)
    path = guarded(tmp_path)

    assert main(["check", str(path)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "keys." in line]
    lines = path.read_text().splitlines()
    for key, said in zip(("token_file", "tls", "tls"), warnings, strict=True):
        at = next(at for at, line in enumerate(lines, 1) if line.strip().startswith(key))
        assert said.startswith(f"warning: {path}:{at}: issuers[0].keys.{key}")
        assert said.endswith("No such file or directory; it has to be there when the server runs")
    authority.issue()
    (tmp_path / "token").write_text("t0ken")
    assert main(["check", str(path)]) == 0
    assert "keys." not in capsys.readouterr().err


def test_bad_credentials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Credentials that are here have to be such, and are told without a word of theirs."""
    authority = Authority(tmp_path)
    authority.issue()
    key, shown = tmp_path / "leaf-1.key", tmp_path / "leaf-1.pem"
    authority.issue().key_path.replace(key)
    (tmp_path / "token").write_text("s3cret of two words")
    found = told(guarded(tmp_path), capsys)

    assert "s3cret" not in str(found)
    assert [text for line, text in found.items() if line.startswith(("token_file", "tls"))] == [
        "issuers[0].keys.token_file: must hold a bearer token: one word of ASCII characters",
        f"issuers[0].keys.tls: private_key: {key} does not belong to the certificate in {shown}",
    ]
