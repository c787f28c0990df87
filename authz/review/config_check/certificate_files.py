"""Finds the files of certificates and CAs that a config names."""

from collections.abc import Iterator

from authz.config import Config, Place


def certificate_files(config: Config) -> Iterator[Place]:
    """Yield the place of each file of certificates or CAs."""
    if config.server.tls is not None and config.server.tls.workload_api is None:
        yield ("server", "tls")
    for place, _ in (*shown_files(config), *trusted_files(config)):
        yield place


def shown_files(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the certificates that the server shows as a client."""
    for at, issuer in enumerate(config.issuers):
        for name in ("keys", "introspection", "exchange"):
            section = getattr(issuer, name)
            if section is not None and section.tls is not None:
                yield ("issuers", at, name, "tls", "certificate"), section.tls.certificate
    if config.store is not None and config.store.tls.client is not None:
        yield ("store", "tls", "client", "certificate"), config.store.tls.client.certificate


def trusted_files(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the files of CAs that the server trusts as a client."""
    for at, issuer in enumerate(config.issuers):
        for name in ("keys", "introspection", "exchange", "status_list"):
            section = getattr(issuer, name)
            if section is not None and section.ca_file is not None:
                yield ("issuers", at, name, "ca_file"), section.ca_file
    if config.store is not None and config.store.tls.ca_file is not None:
        yield ("store", "tls", "ca_file"), config.store.tls.ca_file
    if config.pdp is not None and config.pdp.ca_file is not None:
        yield ("pdp", "ca_file"), config.pdp.ca_file
