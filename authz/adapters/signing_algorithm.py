"""The algorithms with which we sign; loads no library, as the command's arguments name them."""

from enum import StrEnum


class SigningAlgorithm(StrEnum):
    """The ``alg`` of our tokens.

    Ed25519 keys sign with EdDSA (RFC 8037): verifiers know few of its newer names (RFC 9864) yet.
    """

    ES256 = "ES256"
    EDDSA = "EdDSA"
