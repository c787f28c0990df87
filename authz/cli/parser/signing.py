"""The arguments of the verb signing-key."""

from pathlib import Path
from typing import TYPE_CHECKING

from authz.adapters.signing_algorithm import SigningAlgorithm
from authz.cli.parser.adding import add_json, add_verb, end_help

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_signing_key(verbs: "Verbs") -> None:
    """Add the verb signing-key."""
    verb = add_verb(
        verbs,
        "signing_key",
        "signing-key",
        "make a private key that signs assertions or tokens, and print its public key",
        "Make the private key that an entry of assertions.keys or sts.keys names, which only its "
        "owner can read, unless the file exists. Print its public key as a JWK Set.",
    )
    end_help(
        verb,
        "authz signing-key /etc/authz/signing-1.pem",
        "authz signing-key /etc/authz/signing-2.pem --algorithm EdDSA",
        status="0 the public key was printed, 1 the file can't be written or has no such key, "
        "2 usage",
        note="List a new key with a later signs_from: it is published before it signs.",
    )
    verb.add_argument("file", metavar="PRIVATE", type=Path, help="the file of the private key")
    verb.add_argument(
        "--algorithm",
        choices=[str(each) for each in SigningAlgorithm],
        default=str(SigningAlgorithm.ES256),
        help="the algorithm of a new key: ES256 (EC P-256, the default), or EdDSA (Ed25519)",
    )
    add_json(verb)
