"""Reads the files that a config names as the server does, each kind with the part that needs it.

A part is loaded only for a config that names such a file: the parts for certificates and HTTP take
longer to load than the complete check of another config.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from authz.adapters.assertions import AssertionSettings
from authz.adapters.audit.redaction_settings import RedactionSettings
from authz.adapters.audit.settings import AuditSettings, ChainSettings
from authz.adapters.signals import SignalSettings
from authz.adapters.store import StoreSettings
from authz.adapters.sts_settings import StsSettings
from authz.adapters.tls_settings import TlsSettings
from authz.config import Config, Place
from authz.core.delegation import DpopSettings, IssuerSettings
from authz.core.jose import KeySettings
from authz.core.settings import ClientCertificateSettings
from authz.review.config_check.receivers import Receiver, receivers
from authz.review.config_check.signing_lint import signers


def contents(config: Config) -> Iterator[tuple[Place, Callable[[], object]]]:
    """Yield places of files, and functions that read them and raise FetchError or a ToldError."""
    if config.token.dpop.nonce_secret is not None:
        yield ("token", "dpop", "nonce_secret"), partial(_read_nonce_secret, config.token.dpop)
    if config.revocations.file is not None:
        yield ("revocations", "file"), partial(_read_revocations, config)
    if config.pdp is not None:
        yield ("pdp",), partial(_read_decision_point, config)
    yield from _of_audit(config.audit)
    for at, issuer in enumerate(config.issuers):
        yield from _of_issuer(issuer, ("issuers", at))
    yield from _of_store(config.store)
    for receiver in receivers(config):
        yield from _receiver_files(receiver)
    if config.signals is not None:
        yield from _of_signals(config.signals)
    yield from _of_own_tokens(config)
    if config.sts is not None:
        yield ("sts", "tls"), partial(_read_sts_tls, config.sts)
    tls = config.server.tls
    if tls is not None and tls.workload_api is None:
        yield ("server", "tls"), partial(_read_server_tls, tls)


def _of_issuer(
    issuer: IssuerSettings, place: Place
) -> Iterator[tuple[Place, Callable[[], object]]]:
    if issuer.introspection is not None:
        yield (*place, "introspection"), partial(_read_introspection, issuer)
    if issuer.exchange is not None:
        yield (*place, "exchange"), partial(_read_exchange, issuer)
    if issuer.keys is not None:
        yield from _credentials(issuer.keys, (*place, "keys"))


def _of_signals(signals: SignalSettings) -> Iterator[tuple[Place, Callable[[], object]]]:
    if signals.tls is not None:
        yield ("signals", "tls"), partial(_read_listener_certificate, signals)
    for at, transmitter in enumerate(signals.transmitters):
        place: Place = ("signals", "transmitters", at)
        push, poll, keys = transmitter.push, transmitter.poll, transmitter.keys
        if push is not None:
            yield (*place, "push", "token_file"), partial(_read_token, push.token_file)
        if poll is not None and poll.token_file is not None:
            yield (*place, "poll", "token_file"), partial(_read_token, poll.token_file)
        if poll is not None and poll.ca_file is not None:
            yield (*place, "poll", "ca_file"), partial(_read_authorities, poll.ca_file)
        if poll is not None and poll.tls is not None:
            yield (*place, "poll", "tls"), partial(_read_client_tls, poll.tls)
        if keys is not None:
            yield from _credentials(keys, (*place, "keys"))


def _of_own_tokens(config: Config) -> Iterator[tuple[Place, Callable[[], object]]]:
    if config.assertions is not None and config.assertions.tls is not None:
        yield ("assertions", "tls"), partial(_read_publication_certificate, config.assertions)
    for name, signer in signers(config):
        files = [key.file for key in signer.keys]
        for at in range(len(files)):
            yield (name, "keys", at, "file"), partial(_read_signing_key, files[: at + 1])
        if signer.make is not None:  # one that was made at an earlier start
            yield (name, "make"), partial(_read_signing_key, [signer.make])


def _of_audit(audit: AuditSettings) -> Iterator[tuple[Place, Callable[[], object]]]:
    if audit.redact.key_file is not None:
        yield ("audit", "redact", "key_file"), partial(_read_redaction, audit.redact)
    if audit.chain is not None:
        yield ("audit", "chain", "key"), partial(_read_chain_key, audit.chain)


def key_folder_problem(path: Path) -> str:
    """Return why a folder can't hold issuers' keys; "" if it can."""
    from authz.adapters.keys.folder import folder_problem  # noqa: PLC0415 - as above

    return folder_problem(path)


def _receiver_files(receiver: Receiver) -> Iterator[tuple[Place, Callable[[], object]]]:
    if receiver.token_file is not None:
        yield (*receiver.place, "token_file"), partial(_read_token, receiver.token_file)
    if receiver.tls.ca_file is not None:
        yield (*receiver.place, "tls", "ca_file"), partial(_read_authorities, receiver.tls.ca_file)
    if receiver.tls.client is not None:
        yield (*receiver.place, "tls"), partial(_read_client_tls, receiver.tls.client)


def _of_store(store: StoreSettings | None) -> Iterator[tuple[Place, Callable[[], object]]]:
    if store is None:
        return
    if store.password_file is not None:
        yield ("store", "password_file"), partial(_read_password, store.password_file)
    if store.sentinel is not None and store.sentinel.password_file is not None:
        place: Place = ("store", "sentinel", "password_file")
        yield place, partial(_read_password, store.sentinel.password_file)
    if store.tls.ca_file is not None:
        yield ("store", "tls", "ca_file"), partial(_read_authorities, store.tls.ca_file)
    if store.tls.client is not None:
        yield ("store", "tls", "client"), partial(_read_client_tls, store.tls.client)


def _credentials(keys: KeySettings, place: Place) -> Iterator[tuple[Place, Callable[[], object]]]:
    if keys.token_file is not None:
        yield (*place, "token_file"), partial(_read_token, keys.token_file)
    if keys.tls is not None:
        yield (*place, "tls"), partial(_read_client_tls, keys.tls)


def _read_nonce_secret(settings: DpopSettings) -> None:
    from authz.wiring.files import read_nonce_secret  # noqa: PLC0415 - see the module's text

    read_nonce_secret(settings)


def _read_redaction(settings: RedactionSettings) -> None:
    from authz.wiring.files import read_redaction  # noqa: PLC0415 - see the module's text

    read_redaction(settings)


def _read_chain_key(settings: ChainSettings) -> None:
    from authz.adapters.audit.chain.key import read_signer  # noqa: PLC0415 - likewise

    read_signer(settings)


def _read_revocations(config: Config) -> None:
    from authz.wiring.files import read_revocations  # noqa: PLC0415 - likewise

    read_revocations(config)


def _read_listener_certificate(signals: SignalSettings) -> None:
    from authz.wiring.signals import (  # noqa: PLC0415 - see the module's text
        read_listener_certificate,
    )

    read_listener_certificate(signals)


def _read_publication_certificate(assertions: AssertionSettings) -> None:
    from authz.wiring.publishing import read_certificate  # noqa: PLC0415 - see the module's text

    read_certificate(assertions)


def _read_signing_key(files: list[str]) -> None:
    """Read the key of the last file, which no other has."""
    from authz.adapters.signing.key_file import check_key_files  # noqa: PLC0415 - likewise

    check_key_files(files)


def _read_decision_point(config: Config) -> None:
    from authz.wiring.asked import build_decision_point  # noqa: PLC0415 - likewise

    build_decision_point(config)


def _read_introspection(issuer: IssuerSettings) -> None:
    from authz.wiring.asked import (  # noqa: PLC0415 - see the module's text
        read_introspection_credential,
    )

    read_introspection_credential(issuer)


def _read_exchange(issuer: IssuerSettings) -> None:
    from authz.wiring.asked import read_exchange_credential  # noqa: PLC0415 - likewise

    read_exchange_credential(issuer)


def _read_token(path: str) -> None:
    from authz.adapters.client_credentials import (  # noqa: PLC0415 - see the module's text
        read_bearer_token,
    )

    read_bearer_token(path)


def _read_password(path: str) -> None:
    from authz.adapters.store.password import read_password  # noqa: PLC0415 - likewise

    read_password(path)


def _read_client_tls(tls: ClientCertificateSettings) -> None:
    from authz.adapters.client_credentials import (  # noqa: PLC0415 - see the module's text
        check_certificate,
    )

    check_certificate(tls)


def _read_authorities(path: str) -> None:
    from authz.adapters.http_fetch import tls_context  # noqa: PLC0415 - see the module's text

    tls_context(path)


def _read_sts_tls(sts: StsSettings) -> None:
    from authz.wiring.sts import read_sts_tls  # noqa: PLC0415 - see the module's text

    read_sts_tls(sts)


def _read_server_tls(tls: TlsSettings) -> None:
    from authz.adapters.tls import ServerTls  # noqa: PLC0415 - see the module's text

    ServerTls(tls)
