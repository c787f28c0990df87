"""Signed notes: what was signed opens with the right key, and nothing else opens."""

import re

import pytest

from authz.core.tlog.checkpoint import Checkpoint, CheckpointError
from authz.core.tlog.note import NoteError, NoteSigner, NoteVerifier
from support.chained_log import private_pem

TEXT = "authz-1/0/20261129T164500Z-01234567\n7\nJU7fiAmEHmB2xqKMzUmVdsJ2DBYdUe5dtQ4mZAWPLVk=\n"


@pytest.fixture(params=["ed25519", "p256"], scope="module")
def signer(request: pytest.FixtureRequest) -> NoteSigner:
    """Give a signer with each kind of key."""
    return NoteSigner("authz-1", private_pem(request.param))


def test_a_note_opens(signer: NoteSigner) -> None:
    """A note opens with the key in PEM, and with the verifier key."""
    note = signer.sign(TEXT)
    for key in (signer.public_pem, signer.verifier_key, signer.verifier_key + "\n"):
        opened = NoteVerifier(key.encode()).open(note)
        assert (opened.text, opened.signer, opened.signatures) == (TEXT, "authz-1", 1)


def test_every_change_is_found(signer: NoteSigner) -> None:
    """A note with any character changed, removed or doubled does not open with the key of a name.

    With a P-256 key in PEM another signer's name would, which nothing signs: see ``lines.py``.
    """
    note, verifier = signer.sign(TEXT), NoteVerifier(signer.verifier_key.encode())
    for at, one in enumerate(note):
        for changed in (chr(ord(one) ^ 1), "", one * 2, "\n", "é"):
            if changed != one:
                with pytest.raises(NoteError):
                    verifier.open(note[:at] + changed + note[at + 1 :])


def test_another_key(signer: NoteSigner) -> None:
    """Another key, and the same key for another name, do not open a note."""
    note = signer.sign(TEXT)
    other = NoteSigner("authz-1", private_pem())
    renamed = re.sub(r"^authz-1\+", "authz-2+", signer.verifier_key)
    with pytest.raises(NoteError, match="none of the keys"):
        NoteVerifier(other.verifier_key.encode()).open(note)
    if "+Aj" in signer.verifier_key:  # the hash of a P-256 key is of the key alone
        with pytest.raises(NoteError, match="none of the keys"):
            NoteVerifier(renamed.encode()).open(note)
    else:
        with pytest.raises(NoteError, match="hash of the verifier key"):
            NoteVerifier(renamed.encode())


def test_signatures_of_others(signer: NoteSigner) -> None:
    """A witness's signature is ignored; a wrong one in our own name is an error."""
    note, witness = signer.sign(TEXT), NoteSigner("witness", private_pem())
    verifier = NoteVerifier(signer.public_pem.encode())
    signed = note + witness.sign(TEXT).rpartition("\n\n")[2]
    assert verifier.open(signed).signatures == 2

    wrong = signer.sign(TEXT + "more\n").rpartition("\n\n")[2]
    with pytest.raises(NoteError, match="the signature of authz-1 is wrong"):
        verifier.open(note + wrong)


@pytest.mark.parametrize(
    "note",
    ["", "\n", "text\n", "text\n\n", "text\n\n— a\n", "\n\n— a AAAAAA==\n", "a\n\n— a ====\n"],
)
def test_what_is_no_note(note: str, signer: NoteSigner) -> None:
    """A text without signatures, or with lines that are none, does not open."""
    with pytest.raises(NoteError):
        NoteVerifier(signer.public_pem.encode()).open(note)


@pytest.mark.parametrize("key", [b"", b"\xff", b"a+00000000+AQ==", b"a+0+", b"-----BEGIN"])
def test_what_is_no_public_key(key: bytes) -> None:
    """What is no public key is told, and no traceback."""
    with pytest.raises(NoteError):
        NoteVerifier(key)


def test_a_text_that_cannot_be_signed(signer: NoteSigner) -> None:
    """A text without end, with controls or surrogates, and a name with spaces are refused."""
    for text in ("", "a", "a\x00\n", "a\r\n", "\ud800\n"):
        with pytest.raises(NoteError):
            signer.sign(text)
    for name in ("", "a b", "a+b"):
        with pytest.raises(NoteError, match="name"):
            NoteSigner(name, private_pem())
    with pytest.raises(NoteError, match="not a private key"):
        NoteSigner("a", signer.public_pem.encode())


def test_checkpoint() -> None:
    """A checkpoint reads as it was written, and other texts are refused."""
    checkpoint = Checkpoint("a/0/x", 3, b"r" * 32, ("time 2026", "after 2"))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
    for text in (
        "",
        "a\n",
        "a\n1\n",
        "a\n01\nAAAA\n",
        "a\n1\nAAAA\n",
        "a b\n1\n" + "A" * 43 + "=\n",
    ):
        with pytest.raises(CheckpointError):
            Checkpoint.parse(text)
