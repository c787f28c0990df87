"""``authz signing-key``: makes the private key that signs our own tokens, prints its public key."""

import argparse
import json

from authz.adapters.signing.key_file import read_signing_key
from authz.adapters.signing.private_key import make_signing_key
from authz.adapters.signing_algorithm import SigningAlgorithm
from authz.cli.common import FINE, answer, complain


def run(options: argparse.Namespace) -> int:
    """Print the public key, and return the exit status. Raises SigningKeyError."""
    is_made = make_signing_key(options.file, SigningAlgorithm(options.algorithm))
    key = read_signing_key(str(options.file))
    what = "made" if is_made else "the file exists: this is the public key of"
    complain(f"authz: {what} {options.file}")
    answer(
        options,
        [json.dumps({"keys": [key.jwk]})],
        lambda: {"file": str(options.file), "made": is_made, "kid": key.kid, "public_key": key.jwk},
    )
    return FINE
