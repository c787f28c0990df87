"""Opens the state that replicas share through a store; without a store, this process's own."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from authz.adapters.budgets import Spender
from authz.adapters.nonce_secret import AgreedSecret
from authz.adapters.revocations.sources import RevocationSources
from authz.adapters.single_use import SingleUses
from authz.adapters.store.store import Store
from authz.config import Config
from authz.wiring.files import needs_nonces, open_revocations
from authz.wiring.store import open_store


@dataclass(frozen=True, slots=True)
class SharedState:
    """What must be one for all replicas.

    Attributes:
        store: what keeps it, for all replicas or for this process.
        revocations: revoked agents, principals and tokens, as the file and the store say.
        single_uses: the DPoP proofs and one-time tokens that were used.
        nonces: the secret of DPoP nonces.
        spender: spends the budgets of rules.
    """

    store: Store
    revocations: RevocationSources
    single_uses: SingleUses
    nonces: AgreedSecret
    spender: Spender

    def start(self) -> None:
        """Begin to connect. Raises RevocationError."""
        self.revocations.settle()  # a half-written file must not count
        self.store.start()
        self.nonces.start()

    def reconfigure(self, config: Config) -> None:
        """Have what a config needs agreed on."""
        if needs_nonces(config):
            self.nonces.need()


@contextmanager
def open_shared(
    config: Config, revocations: RevocationSources | None = None
) -> Iterator[SharedState]:
    """Open it, and close it in the end; ``revocations`` replace those that the config names.

    Raises BuildError.
    """
    is_shared = config.store is not None
    with ExitStack() as opened:
        store = opened.enter_context(closing(open_store(config)))
        shared = SharedState(
            store,
            revocations or open_revocations(config, store),
            SingleUses(store, config.replay, is_shared=is_shared),
            opened.enter_context(closing(AgreedSecret(store, is_shared=is_shared))),
            Spender(store, is_shared=is_shared),
        )
        shared.reconfigure(config)
        yield shared
