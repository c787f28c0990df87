"""The settings of delegation tokens in requests, and of the proofs beside them."""

from typing import Final

from pydantic import Field

from authz.core.choice import Choice
from authz.core.delegation.algorithms import Algorithm
from authz.core.settings import Duration, FileText, Settings

_HEADER_NAME: Final = r"^[a-z0-9-]{1,64}$"


class NonceNeed(Choice):
    """Whether DPoP proofs must hold a nonce: not used, or required."""

    OFF = "off"
    REQUIRED = "required"


class DpopSettings(Settings):
    """Proofs of possession by DPoP (RFC 9449)."""

    algorithms: tuple[Algorithm, ...] = Field(default=("ES256", "PS256", "Ed25519"), min_length=1)
    """Signature algorithms of proofs."""
    max_age: Duration = Field(default=60.0, ge=1.0, le=600.0)
    """How old a proof may be, by its iat. The server remembers each proof for that long, against
    replay.
    """
    clock_skew: Duration = Field(default=5.0, ge=0.0, le=60.0)
    """How far in the future a proof's iat may be."""
    nonce: NonceNeed = NonceNeed.OFF
    """required: a proof must hold a nonce of this server (section 9), which expires after
    nonce_lifetime.
    """
    nonce_lifetime: Duration = Field(default=300.0, ge=10.0, le=86400.0)
    """How long a nonce is valid, at least."""
    nonce_secret: FileText | None = None
    """A file of 32 or more random bytes, from which nonces are made, the same for all replicas.
    Left out, each process makes its own when it starts.
    """


class TokenSettings(Settings):
    """Where a request carries the delegation token, and how its possession is proven."""

    header: str = Field(default="authorization", pattern=_HEADER_NAME)
    """Lower-case name of the header that carries the token."""
    scheme: str = Field(default="Bearer", pattern=r"^[A-Za-z0-9-]{0,32}$")
    """Authentication scheme before the token, in upper or lower case (RFC 9110 section 11.1); "" if
    the header holds only the token.
    """
    forward: bool = False
    """Forward the token to the upstream, where neither the request's profile nor its route has an
    upstream_token. The upstream could then act as the agent: rarely right.
    """
    max_bytes: int = Field(default=8192, ge=512, le=65536)
    """The longest accepted token, in bytes."""
    dpop: DpopSettings = DpopSettings()
    """Proofs of possession by DPoP (RFC 9449)."""
