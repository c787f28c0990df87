"""Publishes the keys of assertions, and an issuer's metadata, as the config in force says."""

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

    def prepare(self, config: Config) -> None:
        """Listen for a config that is the first with assertions. Raises BuildError."""
        if self._publication is not None:
            return
        publication = self._build(config.assertions)
        if publication is None:
            return
        try:
            publication.start()
        except ListenError as error:
            raise BuildError(f"assertions.listen: {error}") from None
        self._publication = publication

    def take(self, config: Config) -> None:
        """Publish the metadata of a config, whose keys are in use."""
        settings = config.assertions
        if self._publication is not None and settings is not None:
            self._publication.documents = documents(settings.issuer, self._keys.jwks)

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
