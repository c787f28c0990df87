"""Looks a token up in the status list that it names, as the server would."""

from dataclasses import dataclass
from typing import Final

from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.store import KeyStore
from authz.adapters.status_lists import StatusFetchError, StatusLists
from authz.core.delegation import MAX_TIMEOUT_SECONDS, IssuerSettings
from authz.core.delegation.status_list import StatusListChecker, read_reference
from authz.core.needs import StatusListNeeded
from authz.core.reason import Denied
from authz.review.token_check.asked import Asked
from authz.review.token_check.signing import Signature

KEY_SECONDS: Final = 10.0  # as long as the slowest source is given to answer


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """The findings about a token's status.

    Attributes:
        words: for a person, "" for a token that names no list.
        fault: why it does not count; None if it counts, or is unknown.
        is_unknown: whether nobody could say whether it counts: then it is not accepted.
    """

    words: str = ""
    fault: Denied | None = None
    is_unknown: bool = False

    @property
    def is_good(self) -> bool:
        """Tell whether it counts, or there is none to look up."""
        return self.fault is None and not self.is_unknown


def look_up(
    asked: Asked, issuer: IssuerSettings, signature: Signature, *, offline: bool
) -> TokenStatus:
    """Look a token up. Blocks as long as fetching keys and list takes, unless ``offline``."""
    try:
        reference = read_reference(asked.jws.payload, issuer)
    except Denied:  # which the check of the claims tells
        return TokenStatus()
    if reference is None:
        return TokenStatus()
    if not signature.is_good:  # section 8.3: the token itself comes first
        return TokenStatus("NOT LOOKED UP: its signature was not verified")
    if offline:
        words = f"NOT LOOKED UP: --offline, and the list is at {reference.uri}"
        return TokenStatus(words, is_unknown=True)
    return _fetched(asked, issuer)


def _fetched(asked: Asked, issuer: IssuerSettings) -> TokenStatus:
    if issuer.keys is None:
        words = "NOT LOOKED UP: the config has no keys of this issuer"
        return TokenStatus(words, is_unknown=True)
    source = KeySourceConfig(issuer.keys, frozenset(issuer.algorithms))
    keys = KeyStore({issuer.issuer: source})
    try:
        keys.start()
        keys.refresh(issuer.issuer, "", KEY_SECONDS)
        return _checked(asked, issuer, keys)
    finally:
        keys.close()


def _checked(asked: Asked, issuer: IssuerSettings, keys: KeyStore) -> TokenStatus:
    lists = StatusLists(keys, wall=lambda: asked.now)
    lists.reconfigure((issuer,))
    checker = StatusListChecker(lists, keys)
    try:
        return _verdict(checker, asked, issuer)
    except Denied as denied:
        if not isinstance(denied.needs, StatusListNeeded):
            return TokenStatus(f"refused: {denied.detail}", denied)
        needs = denied.needs
    try:
        lists.ask(needs, MAX_TIMEOUT_SECONDS)
        return _verdict(checker, asked, issuer)
    except StatusFetchError as error:
        return TokenStatus(f"UNKNOWN: {error}", is_unknown=True)
    except Denied as denied:
        return TokenStatus(f"refused: {denied.detail}", denied)


def _verdict(checker: StatusListChecker, asked: Asked, issuer: IssuerSettings) -> TokenStatus:
    """Return that the token counts. Raises Denied."""
    checker.check(asked.jws.payload, issuer, asked.now)
    return TokenStatus("valid, by its status list")
