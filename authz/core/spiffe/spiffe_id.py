"""SPIFFE IDs and trust domains as values that exist only if they are valid (SPIFFE-ID section 2).

Nothing is normalised: section 2.1 forbids upper case while section 2.4 compares without it, and an
authorization check that accepts two spellings of a name invites a mismatch. So each name has a
single spelling.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

SCHEME: Final = "spiffe://"
MAX_ID_BYTES: Final = 2048  # SPIFFE-ID section 2.3: more need not be supported
MAX_TRUST_DOMAIN_BYTES: Final = 255  # SPIFFE-ID section 2.3
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+")  # section 2.1
_SEGMENTS: Final = re.compile(r"[A-Za-z0-9._/-]+")  # section 2.2
_DOT_SEGMENT: Final = re.compile(r"/\.\.?/")


class SpiffeIdError(ValueError):
    """An invalid SPIFFE ID or trust domain; the message says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """A trust domain name, such as ``corp.example`` (SPIFFE-ID section 2.1)."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the bare name, without a scheme. Raises SpiffeIdError."""
        if not text:
            raise SpiffeIdError("the trust domain is empty")
        if len(text) > MAX_TRUST_DOMAIN_BYTES:
            raise SpiffeIdError(f"the trust domain is longer than {MAX_TRUST_DOMAIN_BYTES} bytes")
        if not _TRUST_DOMAIN.fullmatch(text):
            raise SpiffeIdError("a trust domain has only a-z, 0-9, '.', '-' and '_'")
        return cls(text)

    @property
    def spiffe_id(self) -> str:
        """The trust domain's own SPIFFE ID, without a path.

        It stands for the issuer of its SVIDs.
        """
        return SCHEME + self.name

    def __str__(self) -> str:
        """Return the bare name."""
        return self.name


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A workload's SPIFFE ID: a trust domain and a path that is not the root.

    Attributes:
        text: the whole ID, byte for byte as it was presented.
        trust_domain: the ID's authority.
        segments: the ID's path, split at "/"; at least one.
    """

    text: str
    trust_domain: TrustDomain
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an ID with a path, as a leaf's must be (X509-SVID 3.1). Raises SpiffeIdError."""
        if len(text) > MAX_ID_BYTES:
            raise SpiffeIdError(f"the ID is longer than {MAX_ID_BYTES} bytes")
        if not text.startswith(SCHEME):
            raise SpiffeIdError(f"the ID does not start with {SCHEME}")
        authority, slash, path = text[len(SCHEME) :].partition("/")
        trust_domain = TrustDomain.parse(authority)
        if not slash:
            raise SpiffeIdError("the ID has no path: it names a trust domain, not a workload")
        _check_path(path)
        return cls(text, trust_domain, tuple(path.split("/")))

    def __str__(self) -> str:
        """Return the whole ID."""
        return self.text


def is_misspelt(text: str) -> bool:
    """Tell whether a text is an invalid SPIFFE ID that a laxer reader might accept.

    Denies that apply to a SPIFFE ID apply to such a text as well.
    """
    if not text.strip().lower().startswith("spiffe:"):
        return False
    try:
        SpiffeId.parse(text)
    except SpiffeIdError:
        return True
    return False


def _check_path(path: str) -> None:
    """Check all segments at once: a proxy's header may hold many IDs, of 1,000 segments each."""
    enclosed = f"/{path}/"
    if "//" in enclosed:
        raise SpiffeIdError("the path has an empty segment or a trailing slash")
    if _DOT_SEGMENT.search(enclosed):
        raise SpiffeIdError("the path has a dot segment")
    if not _SEGMENTS.fullmatch(path):
        raise SpiffeIdError("a path segment has only A-Z, a-z, 0-9, '.', '-' and '_'")
