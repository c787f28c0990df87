"""Private keys of the tokens that we sign ourselves, in PEM, and where a server publishes them."""

from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz._pb import ext_authz_pb2 as pb
from lab.ca import Svid
from lab.live_files import whole_records
from support.world import PATIENCE_SECONDS, check_request, header_of

CHECK = "/envoy.service.auth.v3.Authorization/Check"


def pem_of(key: PrivateKeyTypes) -> bytes:
    """Return a private key as PKCS #8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem(*, is_ed25519: bool = False) -> bytes:
    """Return a new private key: EC P-256, or Ed25519."""
    return pem_of(
        Ed25519PrivateKey.generate() if is_ed25519 else ec.generate_private_key(ec.SECP256R1())
    )


def address_of_keys(log: Path) -> str:
    """Return the address on which a server last began to publish keys, by its log."""
    told = [line for line in whole_records(log) if line.get("message") == "publishing keys"]
    return str(told[-1]["listen"])


def assertion_of(socket: Path, svid: Svid, token: str) -> str:
    """Ask a server for an agent's balance, and return the assertion that the upstream gets."""
    request = check_request(svid, [("authorization", f"Bearer {token}")])
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
        answer = check(request.SerializeToString(), timeout=PATIENCE_SECONDS, wait_for_ready=True)
    assertion = header_of(answer, "x-agent-assertion")
    assert assertion is not None
    return assertion
