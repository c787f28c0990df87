"""Finds a chain from a certificate to a CA that is trusted now.

TLS verified a caller's chain by RFC 5280 when its connection was made. The trusted CAs and the time
can differ later, so a chain is searched anew. It accepts what TLS accepts, whatever the extensions,
and applies the same rules where another path could differ: the issuer is a CA, for this depth and
these names. It refuses only what is too weak: RSA below 2048 bits, and SHA-1.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from authz.core.spiffe import SpiffeId

# Signatures that a search verifies: an honest chain has three or four, and a rotation some CAs of
# the same name. Certificates of one name that sign each other could make a search endless.
MAX_SIGNATURES: Final = 32
MIN_RSA_BITS: Final = 2048  # NIST SP 800-131A
Chain = tuple[x509.Certificate, ...]
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def find_chain(
    leaf: x509.Certificate,
    name: SpiffeId,
    intermediates: Chain,
    authorities: Chain,
    now: dt.datetime,
) -> Chain:
    """Find the chain of a certificate whose SPIFFE ID is ``name``, from it to an authority.

    An authority is trusted by itself, be it a root, an intermediate or the certificate itself.
    Raises ValueError if there is no chain, UnsupportedAlgorithm for an unreadable key.
    """
    if _is_weak(leaf):
        raise ValueError(f"its key is RSA of less than {MIN_RSA_BITS} bits")
    chain = _Search(name, intermediates, authorities, now).from_here((leaf,))
    if chain is None:
        raise ValueError("no trusted CA vouches for it now")
    return chain


class _Search:
    """A depth-first search, MAX_SIGNATURES at most: clients choose what it searches."""

    def __init__(
        self, name: SpiffeId, intermediates: Chain, authorities: Chain, now: dt.datetime
    ) -> None:
        self._host = name.trust_domain.name
        self._authorities = frozenset(authorities)
        self._issuers = (*authorities, *intermediates)
        self._now = now
        self._signatures = MAX_SIGNATURES

    def from_here(self, chain: Chain) -> Chain | None:
        """Return the chain that continues ``chain`` to an authority, None if there is none."""
        last = chain[-1]
        if last in self._authorities:
            return chain
        for issuer in self._issuers:
            if issuer.subject != last.issuer or issuer in chain:
                continue
            if self._vouches(issuer, chain):
                found = self.from_here((*chain, issuer))
                if found is not None:
                    return found
        return None

    def _vouches(self, issuer: x509.Certificate, chain: Chain) -> bool:
        """Tell whether an issuer may sign this chain, and has; False if it is unreadable."""
        try:
            return self._may_sign(issuer, chain) and self._has_signed(issuer, chain[-1])
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False

    def _may_sign(self, issuer: x509.Certificate, chain: Chain) -> bool:
        """Tell whether an issuer is a CA that may sign this chain (RFC 5280 4.2.1.9, 4.2.1.3)."""
        if find_fault(issuer, self._now):
            return False
        constraints = _extension(issuer, x509.BasicConstraints)
        below = sum(signer.subject != signer.issuer for signer in chain[1:])
        depth = None if constraints is None else constraints.path_length
        if depth is not None and below > depth:
            return False
        names = _extension(issuer, x509.NameConstraints)
        return names is None or self._is_among(names)

    def _is_among(self, names: x509.NameConstraints) -> bool:
        """Tell whether name constraints permit the URI's host (RFC 5280 4.2.1.10).

        The other names of a certificate are not used.
        """
        permitted, excluded = _hosts(names.permitted_subtrees), _hosts(names.excluded_subtrees)
        is_permitted = not permitted or any(_covers(base, self._host) for base in permitted)
        return is_permitted and not any(_covers(base, self._host) for base in excluded)

    def _has_signed(self, issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
        """Verify a signature; return False once MAX_SIGNATURES are used up.

        Raises ValueError, TypeError, InvalidSignature, and UnsupportedAlgorithm, as for SHA-1.
        """
        if not self._signatures:
            return False
        self._signatures -= 1
        certificate.verify_directly_issued_by(issuer)
        return True


def find_fault(authority: x509.Certificate, now: dt.datetime) -> str:
    """Return why a certificate can't vouch for any other now, "" if it can (RFC 5280 4.2.1).

    Raises ValueError, UnsupportedAlgorithm for an unreadable one.
    """
    if now > authority.not_valid_after_utc:
        return f"it expired at {authority.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    if now < authority.not_valid_before_utc:
        return f"it is not valid before {authority.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    if _is_weak(authority):
        return f"its key is RSA of less than {MIN_RSA_BITS} bits"
    constraints = _extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return "it is not a CA"
    usage = _extension(authority, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return "it may not sign certificates"
    return ""


def _is_weak(certificate: x509.Certificate) -> bool:
    """Tell whether a key is too weak. Raises ValueError, UnsupportedAlgorithm."""
    key = certificate.public_key()
    return isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """Return an extension, None without it. Raises ValueError if it is invalid."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _hosts(names: Iterable[x509.GeneralName] | None) -> list[str]:
    """Return the hosts of URI constraints, or domains with a dot before them, in lower case."""
    return [
        name.value.lower()
        for name in names or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]


def _covers(base: str, host: str) -> bool:
    return host.endswith(base) if base.startswith(".") else host == base
