"""Builds what makes credentials for upstreams: the signer of assertions, by the config in force."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from authz.adapters.assertions import assertion_header
from authz.adapters.assertions.assertions import AssertionResult, Assertions, TokenSigner
from authz.adapters.signing.private_key import SigningKeyError
from authz.adapters.signing.signer import Signer, SigningPlan, SigningStatus
from authz.config import Config
from authz.edge.snapshot import Exchanges
from authz.wiring.files import BuildError


@dataclass(frozen=True, slots=True)
class UpstreamParts:
    """The parts that make what upstreams get in place of the client's token.

    Attributes:
        signer: signs assertions; None if the config has none.
        exchanges: exchanges tokens; None if no issuer does.
        count_assertion: is called with each result of signing.
    """

    signer: TokenSigner | None = None
    exchanges: Exchanges | None = None
    count_assertion: Callable[[AssertionResult], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class PreparedKeys:
    """The keys of a config, read and not in use yet.

    Attributes:
        signer: signs with them once they are in use; None if the config has no assertions.
        plan: what the signer, which is in use already, takes; None for a new one.
    """

    signer: Signer | None = None
    plan: SigningPlan | None = None


class AssertionKeys:
    """The keys that sign assertions, by the config in force.

    Attributes:
        signer: signs with them; None while the config has no assertions.
    """

    def __init__(self, config: Config, wall: Callable[[], float] = time.time) -> None:
        """Read the config's keys; ``wall`` returns unix seconds. Raises BuildError."""
        self._wall = wall
        self.signer: Signer | None = None
        self._latest: Signer | None = None  # stays when a config has no assertions any more
        self.take(self.prepare(config))

    def prepare(self, config: Config) -> PreparedKeys:
        """Return the keys of a config, for ``take``. Raises BuildError."""
        settings, signer = config.assertions, self.signer
        if settings is None:
            return PreparedKeys()
        try:
            if signer is None:
                return PreparedKeys(Signer(settings, settings.lifetime, self._wall))
            return PreparedKeys(signer, signer.plan(settings, settings.lifetime))
        except SigningKeyError as error:
            raise BuildError(f"assertions: {error}") from None

    def take(self, prepared: PreparedKeys) -> None:
        """Put the keys into use. What an earlier key has signed stays verifiable."""
        self.signer = prepared.signer
        self._latest = prepared.signer or self._latest
        if prepared.signer is not None and prepared.plan is not None:
            prepared.signer.take(prepared.plan)

    def look(self) -> bool:
        """Put changed key files into use; tell whether to check again soon."""
        return self._latest is not None and self._latest.look()

    def jwks(self) -> bytes:
        """Return the public keys as a JWK Set, also while assertions of an earlier config end."""
        return b'{"keys": []}' if self._latest is None else self._latest.jwks()

    def status(self) -> SigningStatus | None:
        """Return the state of the keys, None if there never were any."""
        return None if self._latest is None else self._latest.status()


def build_assertions(config: Config, parts: UpstreamParts) -> Assertions | None:
    """Build what signs the config's assertions, None if it has none, or nothing can sign.

    Without it, routes that give upstreams assertions deny.
    """
    settings = config.assertions
    if settings is None or parts.signer is None:
        return None
    return Assertions(
        parts.signer,
        settings.issuer,
        assertion_header(settings, config.headers.prefix),
        settings.lifetime,
        parts.count_assertion,
    )
