"""What a proxy sent of the caller, what it claims by that, and the places where it may say so."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from authz.core.identity.settings import ProfileSettings
from authz.core.reads import Reads
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.spiffe.svid import Svid, checked_svid

NO_HEADERS: Final = frozenset[str]()


class ClaimedIdentity(msgspec.Struct, frozen=True, gc=False):
    """The caller as a proxy presents it, nothing of it checked yet.

    Attributes:
        name: what should be a SPIFFE ID.
        origin: where it stood, for operators.
        certificate: PEM, URL-encoded or not; "" when the proxy sent none of the caller.
        thumbprint: base64url SHA-256 of the caller's certificate, "" when unknown.
    """

    name: str
    origin: str
    certificate: str = ""
    thumbprint: str = ""


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """What a proxy sent about the caller, and the time (unix seconds) at which it must hold."""

    request: Request
    now: float

    def svid(self, certificate: str, origin: str) -> Svid:
        """Return the SVID in a certificate. Raises Denied(AGENT_INVALID)."""
        return checked_svid(certificate, self.now, origin)

    def agrees_with_principal(self, name: str) -> None:
        """Check that ``source.principal`` is no other name. Raises Denied(IDENTITY_CONFLICT)."""
        if self.request.principal not in ("", name):
            raise Denied(Reason.IDENTITY_CONFLICT, "source.principal is another name")


@dataclass(frozen=True, slots=True)
class IdentitySource(ABC):
    """A place where a proxy says who calls, as a profile has it.

    Guarantees that ``claimed`` reads nothing of a request that ``reads`` lacks, beside ``source``,
    and that what it returns was written by a proxy and not by the client.

    Attributes:
        headers: lower-case names of the headers that it reads; each is an identity.
    """

    profile: ProfileSettings
    headers: ClassVar[frozenset[str]]

    @property
    def reads(self) -> Reads:
        """What it reads of a request beside ``source``."""
        return Reads(identities=self.headers)

    @abstractmethod
    def claimed(self, evidence: Evidence) -> ClaimedIdentity:
        """Return who calls, by the proxy's word.

        Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
        """
