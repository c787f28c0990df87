"""Publishes the keys of assertions, and an issuer's metadata, as the config in force says."""

from collections.abc import Iterator
from contextlib import contextmanager

from authz.adapters.assertions import AssertionSettings
from authz.adapters.http_server import ListenError
from authz.adapters.listener_certificate import ListenerCertificate, ListenerTlsError
from authz.adapters.publication import Publication, documents
from authz.config import Config
from authz.wiring.files import BuildError
from authz.wiring.upstreams import AssertionKeys


class KeyPublication:
    """What publishes the keys of assertions, in the first process of a server.

    Its address and certificate stay as they were when it began to listen.
    """

    def __init__(self, config: Config, keys: AssertionKeys, *, is_here: bool) -> None:
        """Build it; ``start`` listens, if the config has assertions. Raises BuildError.

        ``is_here`` says whether this is the process that publishes.
        """
        self._keys = keys
        self._is_here = is_here
        self._publication = self._build(config.assertions)

    def start(self) -> None:
        """Listen. Raises ListenError."""
        if self._publication is not None:
            self._publication.start()

    @contextmanager
    def taking(self, config: Config) -> Iterator[None]:
        """Publish by a config, which the body puts into force.

        Listens before, for a config that is the first with assertions. If the body raises, nothing
        has changed. Raises BuildError.
        """
        before = self._publication
        if before is None:
            self._publication = self._started(config)
        try:
            yield
        except BaseException:
            if before is None:  # else the next config would find its address taken by this one's
                self.close()
                self._publication = None
            raise
        if self._publication is not None and config.assertions is not None:
            self._publication.documents = documents(config.assertions.issuer, self._keys.jwks)

    def _started(self, config: Config) -> Publication | None:
        publication = self._build(config.assertions)
        if publication is None:
            return None
        try:
            publication.start()
        except ListenError as error:
            raise BuildError(f"assertions.listen: {error}") from None
        return publication

    def close(self) -> None:
        """Stop listening."""
        if self._publication is not None:
            self._publication.close()

    def _build(self, settings: AssertionSettings | None) -> Publication | None:
        if settings is None or not self._is_here:
            return None
        published = documents(settings.issuer, self._keys.jwks)
        return Publication(settings.listen, published, read_certificate(settings))


def read_certificate(settings: AssertionSettings) -> ListenerCertificate | None:
    """Read the certificate of the published keys' address, None without TLS. Raises BuildError."""
    if settings.tls is None:
        return None
    try:
        return ListenerCertificate(settings.tls, "assertions")
    except ListenerTlsError as error:
        raise BuildError(str(error)) from None
