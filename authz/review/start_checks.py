"""Checks keys, CAs and certificates in files by what a start does with them.

What reads them is loaded for a config that names such a file only: it takes longer to load than the
whole check of another config.
"""

from collections.abc import Iterator

from authz.config import Config, Place
from authz.core.delegation import IssuerSettings
from authz.edge.settings import ServerSettings, TransportKind

Found = Iterator[tuple[Place, str]]


def start_problems(config: Config) -> Found:
    """Yield the place of each file that a start, or the first fetch of keys, can't use, and why."""
    for at, issuer in enumerate(config.issuers):
        place = _file_of_keys(issuer)
        if place:
            yield from ((("issuers", at, "keys", *place), why) for why in _keys(issuer))
    tls = config.server.tls
    if config.server.transport is TransportKind.GRPCIO or (tls and tls.workload_api is None):
        yield from _transport(config.server)


def _file_of_keys(issuer: IssuerSettings) -> Place:
    """Return the setting, within keys, that names a file with keys or CAs; () if none does."""
    keys, bundle = issuer.keys, issuer.bundle
    if keys is None:
        return ()
    if bundle is not None and (bundle.file is not None or bundle.bootstrap is not None):
        return "spiffe_bundle", "bootstrap" if bundle.file is None else "file"
    if keys.file is not None:
        return ("file",)
    return () if keys.ca_file is None else ("ca_file",)


def _keys(issuer: IssuerSettings) -> Iterator[str]:
    from authz.adapters.keys.sources import (  # noqa: PLC0415 - see the module's text
        FetchError,
        check_files,
    )
    from authz.core.jose.jwk import KeySetError  # noqa: PLC0415 - likewise

    try:
        if issuer.keys is not None:
            check_files(issuer.keys, issuer.issuer, frozenset(issuer.algorithms))
    except (FetchError, KeySetError) as error:
        yield str(error).removeprefix("ca_file: ")


def _transport(server: ServerSettings) -> Found:
    from authz.adapters.tls import ServerTls, TlsError  # noqa: PLC0415 - see the module's text
    from authz.transports.opening import check_transport  # noqa: PLC0415 - likewise
    from authz.transports.transport import TransportError  # noqa: PLC0415 - likewise

    settings = server.tls
    try:
        tls = None if settings is None or settings.workload_api else ServerTls(settings)
    except TlsError:
        return  # the check of the files has told it, at the setting that is wrong
    try:
        check_transport(server, tls)
    except TlsError as error:
        yield ("server", "tls"), str(error)
    except TransportError as error:
        yield ("server", "transport" if tls is None else "tls"), str(error)
