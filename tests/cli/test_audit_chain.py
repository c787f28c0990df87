"""``authz audit`` key, verify, prove and check-proof: what they print, and their status."""

import json
from pathlib import Path

import pytest

from authz.core.tlog.note import NoteSigner
from support.chain_files import full_log
from support.chained_log import private_pem
from support.verbs import run


@pytest.fixture
def signer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> NoteSigner:
    """Make a key with the command, and its public key in ``audit.pub``."""
    assert run("audit", "key", str(tmp_path / "audit.key")) == 0
    (tmp_path / "audit.pub").write_text(capsys.readouterr().out)
    return NoteSigner("authz-1", (tmp_path / "audit.key").read_bytes())


@pytest.fixture
def log(tmp_path: Path, signer: NoteSigner) -> Path:
    """Give the file of a whole log."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(full_log(25, signer=signer).lines))
    return path


def test_key(tmp_path: Path, signer: NoteSigner, capsys: pytest.CaptureFixture[str]) -> None:
    """A key is made for its owner alone and never replaced; its public key comes in both forms."""
    path = tmp_path / "audit.key"
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "audit.pub").read_text() == signer.public_pem

    assert run("audit", "key", str(path), "--name", "authz-1") == 0
    said = capsys.readouterr()
    assert said.out.strip() == signer.verifier_key
    assert "the file exists" in said.err
    assert run("audit", "key", str(path), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(path), "made": False, "public_key": signer.public_pem.strip()}
    assert path.read_bytes() == before


def test_key_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is missing, a file of another kind, and a bad name are told."""
    (tmp_path / "words").write_text("words")
    (tmp_path / "audit.pub").write_text(NoteSigner("a", private_pem()).public_pem)
    (tmp_path / "audit.key").write_bytes(private_pem("p256"))
    for path, name, why in (
        (tmp_path / "none" / "audit.key", "a", "No such file"),
        (tmp_path / "words", "a", "not a private key in PEM\n"),
        (tmp_path / "audit.pub", "a", "not a private key in PEM but a public key"),
        (tmp_path / "audit.key", "a b", "no space"),
    ):
        assert run("audit", "key", str(path), "--name", name) == 1
        said = capsys.readouterr()
        assert why in said.err
        assert not said.out
    assert run("audit", "key", str(tmp_path / "audit.key")) == 0


def test_verify(log: Path, signer: NoteSigner, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole log is proven with its key in either form, and not with another's."""
    public = log.parent / "audit.pub"
    assert run("audit", "verify", str(log), "--key", str(public)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("proven: complete and unchanged")
    public.write_text(signer.verifier_key)
    assert run("audit", "verify", str(log), "--key", str(public)) == 0
    public.write_text(NoteSigner("authz-1", private_pem()).public_pem)
    assert run("audit", "verify", str(log), "--key", str(public)) == 1
    public.write_text("words")
    capsys.readouterr()
    assert run("audit", "verify", str(log), "--key", str(public)) == 1
    assert f"{public}: not a public key, in PEM or as NAME+HASH+KEY\n" in capsys.readouterr().err
    private = log.parent / "audit.key"
    assert run("audit", "verify", str(log), "--key", str(private)) == 1
    assert "this is the private key, whose public half" in capsys.readouterr().err


def test_no_more_is_claimed_than_is_proven(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line does not say complete of files that may have others beside or behind them."""
    lines = log.read_bytes().splitlines(keepends=True)
    words = ["audit", "verify", str(log), "--key", str(tmp_path / "audit.pub")]
    log.write_bytes(b"".join(lines[:13]))
    assert run(*words) == 1
    assert "is not closed: its end is missing, unless the server still runs (--running)" in (
        capsys.readouterr().out
    )
    assert run(*words, "--running") == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("proven: complete and unchanged, but for what 2 notes say (")
    log.write_bytes(b"".join(lines[10:]))
    assert run(*words, "--partial") == 0
    assert (
        capsys.readouterr().out.splitlines()[-1].startswith("proven: what is here is unchanged (")
    )
    assert run(*words, "--partial", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["proven"], told["partial"], told["notes"]) == (True, True, 0)


def test_files_that_cannot_be_read(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file is told as that, and a log is no witness of itself."""
    words = ["audit", "verify", str(log), "--key", str(tmp_path / "audit.pub")]
    assert run(*words[:3], str(tmp_path / "none"), *words[3:]) == 1
    assert f"{tmp_path / 'none'}: error: can't be read: No such file" in capsys.readouterr().out
    assert run(*words, "--witness", str(log)) == 1
    assert f"{log}: error: this is one of the files to verify" in capsys.readouterr().out


def test_files_on_both_sides_of_a_flag(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file behind a flag is told as that, since a shell's * brings several."""
    with pytest.raises(SystemExit):
        run("audit", "verify", str(log), "--key", str(log.parent / "audit.pub"), str(log))
    assert "give all files together" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("audit", "verify", str(log), "--key", str(log.parent / "audit.pub"), "--runing")
    assert "give all files together" not in capsys.readouterr().err


def test_verify_tells_the_line(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change is told as file:line, and in the members of --json."""
    log.write_bytes(log.read_bytes().replace(b'"deny"', b'"Deny"', 1))
    words = ["audit", "verify", str(log), "--key", str(log.parent / "audit.pub")]
    assert run(*words) == 1
    said = capsys.readouterr().out
    assert f"{log}:1-10: error: changed: " in said
    assert said.splitlines()[-1].startswith("NOT proven: 1 error ")

    assert run(*words, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["proven"], told["errors"], told["records"]) == (False, 1, 27)
    finding = told["findings"][0]
    assert (finding["file"], finding["line"], finding["last_line"]) == (str(log), 1, 10)
    assert told["logs"][0]["end"] == "closed"


def test_flags_of_verify(log: Path, tmp_path: Path) -> None:
    """Each flag reaches the verification."""
    lines = log.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut"
    cut.write_bytes(b"".join(lines[:11]))
    witness = tmp_path / "witness"
    witness.write_bytes(lines[-1])
    words = ["audit", "verify", str(cut), "--key", str(tmp_path / "audit.pub")]

    assert run(*words) == 1
    assert run(*words, "--running") == 0
    assert run(*words, "--running", "--witness", str(witness)) == 1
    assert run(*words, "--running", "--server", "authz-1") == 0
    assert run(*words, "--running", "--server", "authz-2") == 1
    cut.write_bytes(b"".join(lines[10:]))
    assert run(*words) == 1
    assert run(*words, "--partial", "--strict", "--sink", "file") == 0


def test_prove_and_check(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A third party checks a record with its proof and the public key, and no changed proof."""
    key = ("--key", str(log.parent / "audit.pub"))
    assert run("audit", "prove", "authz-1-0-0-17", str(log), *key) == 0
    proof = log.parent / "decision.tlog-proof"
    proof.write_text(capsys.readouterr().out)

    assert run("audit", "check-proof", str(proof), *key) == 0
    record, verdict = capsys.readouterr().out.splitlines()
    assert json.loads(record)["decision_id"] == "authz-1-0-0-17"
    assert verdict.startswith("proven: this is record 18 of authz-1/0/")
    assert run("audit", "check-proof", str(proof), *key, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["proven"], told["index"], told["size"]) == (True, 18, 20)

    proof.write_text(proof.read_text().replace("index 18", "index 17"))
    assert run("audit", "check-proof", str(proof), *key) == 1
    assert "authz: the proof is not valid" in capsys.readouterr().err
    assert run("audit", "check-proof", str(log.parent / "none"), *key) == 1


def test_prove_what_is_not_there(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A decision that is nowhere, or in a changed part, has no proof."""
    key = ("--key", str(log.parent / "audit.pub"))
    assert run("audit", "prove", "unknown", str(log), *key) == 1
    assert "no record of the decision unknown" in capsys.readouterr().err
    log.write_bytes(log.read_bytes().replace(b'"deny"', b'"Deny"', 1))
    assert run("audit", "prove", "authz-1-0-0-3", str(log), *key, "--json") == 1
    said = capsys.readouterr()
    assert f"{log}:5: the checkpoint of 10 leaves does not prove this record" in said.err
    assert "problems" in json.loads(said.out)
