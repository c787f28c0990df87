"""``authz signing-key``: what it makes and prints, and its status."""

import json
import stat
from pathlib import Path

import pytest

from authz.adapters.signing.private_key import parse_signing_key
from lab.ca import Authority
from support.verbs import run


@pytest.mark.parametrize(
    ("flags", "algorithm"), [((), "ES256"), (("--algorithm", "EdDSA"), "EdDSA")]
)
def test_a_key_is_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], algorithm: str
) -> None:
    """The key is for its owner alone; a second call prints the public key of the first."""
    path = tmp_path / "signing.pem"
    assert run("signing-key", str(path), *flags) == 0
    first = capsys.readouterr()
    assert first.err == f"authz: made {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (published,) = json.loads(first.out)["keys"]
    assert published == parse_signing_key(path.read_bytes(), str(path)).jwk
    assert published["alg"] == algorithm

    assert run("signing-key", str(path), "--json") == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == {
        "file": str(path),
        "made": False,
        "kid": published["kid"],
        "public_key": published,
    }
    assert again.err == f"authz: the file exists: this is the public key of {path}\n"


def test_what_is_no_such_key_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of another kind, or a folder that is missing, is told, and nothing is written."""
    svid = Authority(tmp_path).issue("spiffe://corp.example/a")
    assert run("signing-key", str(svid.certificate_path)) == 1
    assert "holds a certificate, not a private key" in capsys.readouterr().err
    assert run("signing-key", str(tmp_path / "none" / "k.pem")) == 1
    assert "can't be made: No such file or directory" in capsys.readouterr().err
    assert run("signing-key", str(tmp_path)) == 1
    assert "can't be read: Is a directory" in capsys.readouterr().err
