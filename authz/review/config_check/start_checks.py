"""Checks keys, CAs and certificates in files in the same way as a start does.

The modules that read them are loaded only for a config that names such a file: loading them takes
longer than the complete check of another config.
"""

from collections.abc import Iterator
from pathlib import Path

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
    from authz.adapters.fetched import FetchError  # noqa: PLC0415 - see the module's text
    from authz.core.jose.jwk import KeySetError  # noqa: PLC0415 - likewise

    try:
        _read_keys(issuer)
    except (FetchError, KeySetError) as error:
        yield str(error).removeprefix("ca_file: ")


def _read_keys(issuer: IssuerSettings) -> None:
    """Read the files as a fetch does. Raises FetchError, KeySetError."""
    keys, algorithms = issuer.keys, frozenset(issuer.algorithms)
    if keys is not None and keys.file is not None:  # needs nothing that fetches from elsewhere
        from authz.adapters.keys.jwk_set_file import JwkSetFile  # noqa: PLC0415 - see above

        source = JwkSetFile(Path(keys.file), issuer.issuer)
        source.parse(source.fetch().body, algorithms)
    elif keys is not None:
        from authz.adapters.keys.sources import check_files  # noqa: PLC0415 - see above

        check_files(keys, issuer.issuer, algorithms)


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
