"""Verifies a token's signature with the keys that the config names for an issuer."""

from dataclasses import dataclass
from math import inf
from typing import get_args

from authz.adapters.keys.fetcher import KeySourceConfig
from authz.core.delegation import IssuerSettings
from authz.core.delegation.algorithms import AlgorithmName
from authz.core.delegation.verifier import check_signature, find_key
from authz.core.jose.jws import Jws
from authz.core.jose.key_set import KeySet
from authz.core.reason import Denied
from authz.review.keys import IssuerKeys, fetch


@dataclass(frozen=True, slots=True)
class Signature:
    """The findings about a signature.

    Attributes:
        fault: why it does not count, None if it counts or is unknown.
        unknown: why it was not verified; "" if it was verified.
    """

    fault: Denied | None = None
    unknown: str = ""

    @property
    def is_good(self) -> bool:
        """Tell whether it was verified."""
        return self.fault is None and not self.unknown

    def words(self) -> str:
        """Return the findings in words for a person."""
        if self.unknown:
            return f"NOT VERIFIED: {self.unknown}"
        return "verified" if self.fault is None else f"wrong: {self.fault.detail}"


def verify(jws: Jws, issuer: IssuerSettings, *, offline: bool) -> Signature:
    """Verify a token with the issuer's keys. Blocks as ``authz keys`` does, unless ``offline``."""
    if issuer.keys is None:
        return Signature(unknown="the config has no keys of this issuer, but for opaque tokens")
    if offline and not issuer.keys.is_file:
        return Signature(unknown=f"--offline, and the keys are at {issuer.keys.name}")
    # Keys for the token's own algorithm too: if the issuer's settings lack it, another check says
    # so.
    own = {jws.header.algorithm} & set(get_args(AlgorithmName))
    algorithms = frozenset[str]({*issuer.algorithms, *own})
    found = fetch(issuer.issuer, KeySourceConfig(issuer.keys, algorithms))
    if found.error:
        return Signature(unknown=found.error)
    return _verified(jws, issuer, found)


def _verified(jws: Jws, issuer: IssuerSettings, found: IssuerKeys) -> Signature:
    keys = KeySet({key.key_id: key for key in found.keys}, found.refused, 0.0, inf)
    try:
        key, _ = find_key(keys, issuer, jws, 0.0)
        check_signature(key, jws)
    except Denied as denied:
        return Signature(denied)
    return Signature()
