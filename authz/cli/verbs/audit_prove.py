"""``authz audit prove``: makes a proof of one record of an audit log."""

import argparse

from authz.cli.common import FINE, answer
from authz.cli.progress import of_files, progress
from authz.review.audit_chain.keys import read_public_keys
from authz.review.audit_chain.prove import prove_record


def run(options: argparse.Namespace) -> int:
    """Print the proof, and return the exit status. Raises AuditKeyError, ProofError."""
    verifier = read_public_keys(options.key)
    with progress("reading records") as tell:
        proof = prove_record(options.decision_id, options.files, verifier, of_files(tell))
    text = proof.text()
    answer(options, [text.removesuffix("\n")], lambda: {"proof": text})
    return FINE
