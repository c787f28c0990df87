"""The TLS context of the address for signals, made again when its files have changed."""

import logging
import ssl
from typing import Final

from authz.adapters.client_credentials import show_certificate
from authz.adapters.fetched import FetchError
from authz.adapters.files import FileState, state_of
from authz.adapters.signals.settings import ListenerTlsSettings
from authz.core.settings import ClientCertificateSettings
from authz.core.told_error import ToldError

_log: Final = logging.getLogger("authz.signals")


class ListenerTlsError(ToldError):
    """Signals that the certificate can't be used; the message says why."""


class ListenerCertificate:
    """The certificate of the address for signals. For a single thread."""

    def __init__(self, settings: ListenerTlsSettings) -> None:
        """Read the files. Raises ListenerTlsError."""
        self._settings = settings
        self._seen = self._states()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Return the context of a new connection: of the files as they are now, if they are valid.

        Otherwise the last valid one stays in use, which is logged once for each change.
        """
        states = self._states()
        if states != self._seen:
            self._seen = states
            try:
                self._context = self._read()
            except ListenerTlsError as error:
                _log.error("certificate for signals not reloaded: %s", error)
        return self._context

    def _states(self) -> tuple[FileState | None, ...]:
        settings = self._settings
        paths = (settings.certificate, settings.private_key, settings.client_ca)
        return tuple(None if path is None else _state(path) for path in paths)

    def _read(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        shown = ClientCertificateSettings(
            certificate=settings.certificate, private_key=settings.private_key
        )
        try:
            show_certificate(context, shown)
            if settings.client_ca is not None:
                context.load_verify_locations(settings.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except FetchError as error:
            raise ListenerTlsError(f"signals.{error}") from None
        except ssl.SSLError:  # whose text is OpenSSL's
            raise ListenerTlsError("signals.tls.client_ca holds no PEM certificates") from None
        except OSError as error:
            raise ListenerTlsError(f"signals.tls.client_ca: {error.strerror}") from None
        return context


def _state(path: str) -> FileState | None:
    try:
        return state_of(path)
    except OSError:
        return None
