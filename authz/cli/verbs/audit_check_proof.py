"""``authz audit check-proof``: checks the proof of a record, and prints the record."""

import argparse
import sys
from pathlib import Path

from authz.cli.common import FINE, answer
from authz.cli.parser.types import STDIN
from authz.review.audit_chain.keys import read_public_keys
from authz.review.audit_chain.proof import MAX_PROOF_BYTES, Proof, ProofError, check_proof


def run(options: argparse.Namespace) -> int:
    """Print the record, and return the exit status. Raises AuditKeyError, ProofError."""
    verifier = read_public_keys(options.key)
    proven = check_proof(Proof.parse(_read(options.proof)), verifier)
    answer(options, proven.lines(), proven.members)
    return FINE


def _read(path: Path) -> bytes:
    """Return the beginning of a file, one byte more than a proof has. Raises ProofError."""
    if path == STDIN:
        return sys.stdin.buffer.read(MAX_PROOF_BYTES + 1)
    try:
        with path.open("rb") as file:
            return file.read(MAX_PROOF_BYTES + 1)
    except OSError as error:
        raise ProofError(f"the proof {path} can't be read: {error.strerror}") from None
