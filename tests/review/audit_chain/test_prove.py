"""Proofs of single records: every record has one, no changed one is valid, and no bytes raise."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.tlog.note import NoteSigner, NoteVerifier
from authz.review.audit_chain.proof import MAX_PROOF_BYTES, Proof, ProofError, check_proof
from authz.review.audit_chain.prove import prove_record
from support.chain_files import SIGNER, VERIFIER, full_log, interleaved, written
from support.chained_log import ChainedLog, private_pem


def test_each_record_has_a_proof(tmp_path: Path) -> None:
    """Each record of interleaved workers, in rotated files, has a proof that stands alone."""
    logs = [ChainedLog(SIGNER, worker=number, workers=2, records=7) for number in range(2)]
    files = []
    for number in range(30):
        for log in logs:
            log.record(number)
        if number == 17:
            moved = [ChainedLog(SIGNER, worker=n) for n in range(2)]
            for log, old in zip(logs, moved, strict=True):
                old.lines = log.rotate()
            files.append(interleaved(*moved))
    for log in logs:
        log.close()
    files.append(interleaved(*logs))
    paths = written(tmp_path, {"1": files[0], "2.gz": files[1]})
    for worker in range(2):
        for number in range(30):
            wanted = f"authz-1-0-{worker}-{number}"
            proof = Proof.parse(prove_record(wanted, paths, VERIFIER).text().encode())
            proven = check_proof(proof, VERIFIER)
            assert f'"decision_id":"{wanted}"' in proven.record
            assert proven.index == number + 1


def test_a_record_beside_a_gap(tmp_path: Path) -> None:
    """A record of a file that misses others is proven by the hashes of these."""
    log = full_log(40)
    log.miss(13, 16)
    paths = written(tmp_path, {"1": log.lines})
    for number in (11, 16):
        proof = prove_record(f"authz-1-0-0-{number}", paths, VERIFIER)
        assert check_proof(proof, VERIFIER).size == 20


def test_no_proof_with_another_key(tmp_path: Path) -> None:
    """A key that signed nothing here is told, and not a checkpoint that were still to come."""
    paths = written(tmp_path, {"1": full_log(20).lines})
    other = NoteVerifier(NoteSigner("authz-1", private_pem()).public_pem.encode())
    with pytest.raises(ProofError, match="none of the keys given signed this"):
        prove_record("authz-1-0-0-3", paths, other)


@pytest.mark.parametrize("kept", [slice(1, None), slice(0, 9), slice(0, 0)])
def test_no_proof(tmp_path: Path, kept: slice) -> None:
    """Without a checkpoint before or behind the record, there is no proof but a reason."""
    paths = written(tmp_path, {"1": full_log(20).lines[kept]})
    with pytest.raises(ProofError):
        prove_record("authz-1-0-0-3", paths, VERIFIER)
    with pytest.raises(ProofError, match="can't be read"):
        prove_record("authz-1-0-0-3", [tmp_path / "none"], VERIFIER)


def valid_proof() -> bytes:
    """Return a valid proof."""
    with TemporaryDirectory() as folder:
        paths = written(Path(folder), {"1": full_log(20).lines})
        return prove_record("authz-1-0-0-7", paths, VERIFIER).text().encode()


PROOF = valid_proof()


def is_valid(data: bytes, verifier: NoteVerifier = VERIFIER) -> bool:
    """Whether a file is a valid proof."""
    try:
        check_proof(Proof.parse(data), verifier)
    except ProofError:
        return False
    return True


def test_each_change_of_a_proof_is_found() -> None:
    """A proof with any byte changed, removed or doubled is not valid."""
    assert is_valid(PROOF)
    for at, one in enumerate(PROOF):
        for changed in (bytes((one ^ 1,)), bytes((one ^ 0x80,)), b"", bytes((one, one)), b"\n"):
            if changed != bytes((one,)):
                assert not is_valid(PROOF[:at] + changed + PROOF[at + 1 :]), at


def test_a_proof_of_another_key() -> None:
    """A proof that another key signed is not valid."""
    other = NoteSigner("authz-1", private_pem())
    assert not is_valid(PROOF, NoteVerifier(other.public_pem.encode()))


@given(st.binary(max_size=400), st.integers(0, len(PROOF)), st.integers(0, len(PROOF)))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_traceback_whatever_the_bytes(put: bytes, begin: int, end: int) -> None:
    """Bytes of any kind are no valid proof, and raise nothing else."""
    assert not is_valid(put)
    data = PROOF[:begin] + put + PROOF[end:]
    assert data == PROOF or not is_valid(data)
    assert not is_valid(PROOF + b" " * MAX_PROOF_BYTES)
