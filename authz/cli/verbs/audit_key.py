"""``authz audit key``: makes the private key that signs an audit log, and prints its public key."""

import argparse

from authz.cli.common import FINE, answer, complain
from authz.review.audit_chain.keys import make_key, read_signer

_ANY = "any"  # PEM has no name


def run(options: argparse.Namespace) -> int:
    """Print the public key, and return the exit status. Raises AuditKeyError."""
    is_made = make_key(options.file)
    signer = read_signer(options.file, _ANY if options.name is None else options.name)
    public = signer.public_pem.strip() if options.name is None else signer.verifier_key
    what = "made" if is_made else "the file exists: this is the public key of"
    complain(f"authz: {what} {options.file}")
    answer(
        options,
        [public],
        lambda: {"file": str(options.file), "made": is_made, "public_key": public},
    )
    return FINE
