"""Introspection of opaque tokens (RFC 7662): asks their issuers, and remembers the answers.

``client`` asks, ``answer`` reads the answer, and ``store`` keeps it for a bounded time. Only a
need that the core named causes a question.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from authz.adapters.introspection.client import (
    Count,
    IntrospectionClient,
    IntrospectionError,
    IntrospectionResult,
)
from authz.adapters.introspection.store import AnswerStore
from authz.adapters.oauth_client import CredentialError
from authz.adapters.signing_keys import SigningKeys
from authz.core.delegation import IssuerSettings
from authz.core.delegation.opaque import IntrospectionAnswer
from authz.core.needs import IntrospectionNeeded

__all__ = [
    "Count",
    "IntrospectionClient",
    "IntrospectionError",
    "IntrospectionResult",
    "IntrospectionStatus",
    "Introspections",
]


@dataclass(frozen=True, slots=True)
class IntrospectionStatus:
    """The state of an issuer's endpoint.

    Attributes:
        issuer: whose it is.
        is_cut_off: whether it is not asked, because it failed.
        calls: calls to it that are under way.
    """

    issuer: str
    is_cut_off: bool
    calls: int


class Introspections:
    """The endpoints of all issuers that have one, and the answers that they gave."""

    def __init__(
        self,
        keys: SigningKeys,
        count: Count = lambda *_: None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without issuers; ``keys`` verify signed answers, ``count`` is called in turn."""
        self._keys = keys
        self._count = count
        self._clock = (wall, monotonic)
        self._lock = threading.Lock()  # of the counts: calls to several issuers may end at once
        self._store = AnswerStore(monotonic=monotonic)
        self._clients: Mapping[str, IntrospectionClient] = {}

    def prepare(self, issuers: Iterable[IssuerSettings]) -> Mapping[str, IntrospectionClient]:
        """Return clients by issuer for ``reconfigure``; nothing changes yet.

        Reads the files that the settings name. Raises CredentialError.
        """
        found: dict[str, IntrospectionClient] = {}
        for issuer in issuers:
            settings, name = issuer.introspection, issuer.issuer
            if settings is None:
                continue
            parts = issuer, settings, self._keys, self._store, self._counted
            try:
                found[name] = IntrospectionClient(*parts, clock=self._clock)
            except CredentialError as error:
                raise CredentialError(f"{name}: introspection.{error}") from None
        return found

    def reconfigure(self, clients: Mapping[str, IntrospectionClient]) -> None:
        """Use other clients. Answers by other settings are not found any more."""
        self._clients = clients

    def get(self, issuer: str, token: str) -> IntrospectionAnswer | None:
        """Return the issuer's answer about a token, None if it is unknown. Never waits."""
        client = self._clients.get(issuer)
        return None if client is None else client.get(token)

    def ask(self, need: IntrospectionNeeded, seconds: float) -> bool:
        """Ask for a needed answer; return whether ``get`` may now have it.

        Waits ``seconds`` at most. Raises IntrospectionError.
        """
        client = self._clients.get(need.issuer)
        if client is None:  # the config has changed since
            return False
        client.ask(need.token, need.agent, seconds)
        return True

    def status(self) -> tuple[IntrospectionStatus, ...]:
        """Return the state of each endpoint."""
        return tuple(
            IntrospectionStatus(name, client.is_cut_off, client.calls)
            for name, client in list(self._clients.items())
        )

    def _counted(self, issuer: str, result: IntrospectionResult, seconds: float | None) -> None:
        with self._lock:
            self._count(issuer, result, seconds)
