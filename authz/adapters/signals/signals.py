"""Runs the receivers of signals in a process: address, pollers, and the transmitters' keys."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from authz.adapters.keys.store import KeyStore, SourceStatus
from authz.adapters.signals.poller import SignalPoller
from authz.adapters.signals.receiver import SignalReceiver
from authz.adapters.signals.status import SignalCounts, SignalStatus


@dataclass(frozen=True, slots=True)
class Signals:
    """The parts that receive signals.

    Attributes:
        keys: keys of transmitters that have keys of their own. They are in no other store: such a
            key never verifies a token.
        receiver: None if nothing is posted to us.
        pollers: of the transmitters that we ask.
        counts: of what came.
    """

    keys: KeyStore
    receiver: SignalReceiver | None
    pollers: Sequence[SignalPoller]
    counts: SignalCounts

    def start(self) -> None:
        """Begin to receive. Raises KeyStoreError, ListenError."""
        self.keys.start()
        if self.receiver is not None:
            self.receiver.start()
        for poller in self.pollers:
            poller.start()

    def close(self) -> None:
        """Stop receiving."""
        for poller in self.pollers:
            poller.close()
        if self.receiver is not None:
            self.receiver.close()
        self.keys.close()

    def status(self) -> SignalStatus:
        """Return the counts of what came."""
        return self.counts.status()

    def key_sources(self) -> tuple[SourceStatus, ...]:
        """Return the state of the transmitters' own keys."""
        return tuple(
            replace(source, issuer=f"signals of {source.issuer}") for source in self.keys.status()
        )
