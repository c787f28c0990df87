"""Builds the receiver of signals that a config names."""

from pathlib import Path

from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.store import KeyStore
from authz.adapters.listener_certificate import ListenerCertificate, ListenerTlsError
from authz.adapters.signals import LogoutSettings, SignalSettings, TransmitterSettings
from authz.adapters.signals.intake import Intake, Party
from authz.adapters.signals.poller import SignalPoller
from authz.adapters.signals.receiver import Endpoint, SignalReceiver
from authz.adapters.signals.signals import Signals
from authz.adapters.signals.status import SignalCounts
from authz.adapters.signals.writer import FileWriter, RevocationWriter, StoreWriter
from authz.adapters.store.store import Store
from authz.config import Config
from authz.core.delegation import IssuerSettings
from authz.core.signals.sender import SignalSender
from authz.wiring.files import BuildError


def open_signals(config: Config, keys: KeyStore, store: Store) -> Signals | None:
    """Open what receives the config's signals, None if it has none; nothing runs yet.

    Raises BuildError.
    """
    settings = config.signals
    if settings is None:
        return None
    # Nobody may log out for days; a transmitter is asked for verification events.
    counts = SignalCounts(
        frozenset(sender.issuer for sender in settings.transmitters),
        frozenset(provider.issuer for provider in settings.logout),
    )
    intake = Intake(_writer(config, store), counts)
    issuers = {issuer.issuer: issuer for issuer in config.issuers}
    own_keys = KeyStore(_own_sources(settings, issuers))
    endpoints, pollers = {}, []
    for transmitter in settings.transmitters:
        is_own = transmitter.keys is not None
        sender = transmitter_sender(transmitter, issuers)
        name = transmitter.issuer if is_own else sender.about
        party = Party(sender, own_keys if is_own else keys, name)
        if transmitter.push is not None:
            endpoints[transmitter.push.path] = Endpoint(party, transmitter.push.token_file)
        if transmitter.poll is not None:
            pollers.append(SignalPoller(transmitter.poll, party, intake, counts.polled_by(sender)))
    for logout in settings.logout:
        party = Party(logout_sender(logout, issuers), keys, logout.issuer)
        endpoints[logout.path] = Endpoint(party, None)
    certificate = read_listener_certificate(settings)
    receiver = (
        SignalReceiver(settings.listen, endpoints, intake, certificate) if endpoints else None
    )
    return Signals(own_keys, receiver, pollers, counts)


def read_listener_certificate(settings: SignalSettings) -> ListenerCertificate | None:
    """Read the certificate of the address for signals, None without TLS. Raises BuildError."""
    if settings.tls is None or not settings.listens:
        return None
    try:
        return ListenerCertificate(settings.tls, "signals")
    except ListenerTlsError as error:
        raise BuildError(str(error)) from None


def transmitter_sender(
    settings: TransmitterSettings, issuers: dict[str, IssuerSettings]
) -> SignalSender:
    """Build the sender of a transmitter's events."""
    issuer = issuers[settings.about or settings.issuer]
    return SignalSender(
        issuer=settings.issuer,
        about=issuer.issuer,
        audiences=settings.audiences,
        algorithms=frozenset(settings.algorithms or issuer.algorithms),
        max_age=settings.max_age,
        clock_skew=issuer.clock_skew,
        token_seconds=issuer.max_lifetime + issuer.clock_skew,
        by_session=settings.by_session,
    )


def logout_sender(settings: LogoutSettings, issuers: dict[str, IssuerSettings]) -> SignalSender:
    """Build the sender of an issuer's logout tokens."""
    issuer = issuers[settings.issuer]
    return SignalSender(
        issuer=issuer.issuer,
        about=issuer.issuer,
        audiences=settings.client_ids,
        algorithms=frozenset(settings.algorithms or issuer.algorithms),
        max_age=issuer.max_lifetime,  # its exp ends it sooner
        clock_skew=issuer.clock_skew,
        token_seconds=issuer.max_lifetime + issuer.clock_skew,
        by_session=settings.by_session,
    )


def _own_sources(
    settings: SignalSettings, issuers: dict[str, IssuerSettings]
) -> dict[str, KeySourceConfig]:
    return {
        transmitter.issuer: KeySourceConfig(
            transmitter.keys, transmitter_sender(transmitter, issuers).algorithms
        )
        for transmitter in settings.transmitters
        if transmitter.keys is not None
    }


def _writer(config: Config, store: Store) -> RevocationWriter:
    """Choose where revocations are kept. Raises BuildError."""
    if config.store is not None:
        return StoreWriter(store)
    if config.revocations.file is None:
        raise BuildError("signals: what they revoke must be kept: set store, or revocations.file")
    return FileWriter(Path(config.revocations.file))
