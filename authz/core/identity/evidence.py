"""The evidence of the caller that a proxy sent, and the base of the sources that read it."""

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
    """The caller as a proxy presents it, unchecked.

    Attributes:
        name: the presented name, which should be a SPIFFE ID.
        origin: the place of the name, for operators.
        certificate: PEM, URL-encoded or not; "" if the proxy sent no certificate of the caller.
        thumbprint: base64url SHA-256 of the caller's certificate; "" if unknown.
    """

    name: str
    origin: str
    certificate: str = ""
    thumbprint: str = ""


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """A proxy's request for a decision, and the time (unix seconds) at which it must be valid."""

    request: Request
    now: float

    def svid(self, certificate: str, origin: str) -> Svid:
        """Return the SVID in a certificate. Raises Denied(AGENT_INVALID)."""
        return checked_svid(certificate, self.now, origin)

    def agrees_with_principal(self, name: str) -> None:
        """Check that ``source.principal`` is not a different name.

        Raises Denied(IDENTITY_CONFLICT).
        """
        if self.request.principal not in ("", name):
            raise Denied(Reason.IDENTITY_CONFLICT, "source.principal is another name")


@dataclass(frozen=True, slots=True)
class IdentitySource(ABC):
    """A place where a proxy names the caller, by the settings of a profile.

    Guarantees that ``claimed`` reads only the parts of a request that ``reads`` lists, beside
    ``source``; that a proxy, not the client, wrote the returned evidence; and that time changes it
    only when a certificate expires: the returned certificate or ``source.certificate``. Known
    callers rely on that (``authz.core.known_callers``). Does not guarantee a valid SPIFFE ID.

    Attributes:
        headers: lower-case names of the headers that it reads; each is an identity.
    """

    profile: ProfileSettings
    headers: ClassVar[frozenset[str]]

    @property
    def reads(self) -> Reads:
        """The parts of a request that it reads beside ``source``."""
        return Reads(identities=self.headers)

    @abstractmethod
    def claimed(self, evidence: Evidence) -> ClaimedIdentity:
        """Return the caller that the proxy names.

        Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
        """
