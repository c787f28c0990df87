"""The TLS context of an address of its own, made again when its files have changed."""

import logging
import ssl
from typing import Final

from authz.adapters.client_credentials import show_certificate
from authz.adapters.fetched import FetchError
from authz.adapters.files import FileState, state_of
from authz.adapters.listener_tls_settings import ListenerTlsSettings
from authz.core.settings import ClientCertificateSettings
from authz.core.told_error import ToldError

_log: Final = logging.getLogger("authz.tls")


class ListenerTlsError(ToldError):
    """Signals that the certificate can't be used; the message says why."""


class ListenerCertificate:
    """The certificate of an address of its own, such as that for signals. For a single thread."""

    def __init__(self, settings: ListenerTlsSettings, section: str) -> None:
        """Read the files, which ``tls`` of the config's section names. Raises ListenerTlsError."""
        self._settings = settings
        self._section = section
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
                _log.error("certificate not reloaded; the last valid one stays in use: %s", error)
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
            raise ListenerTlsError(f"{self._section}.{error}") from None
        except ssl.SSLError:  # whose text is OpenSSL's
            message = f"{self._section}.tls.client_ca holds no PEM certificates"
            raise ListenerTlsError(message) from None
        except OSError as error:
            message = f"{self._section}.tls.client_ca: {error.strerror}"
            raise ListenerTlsError(message) from None
        return context


def _state(path: str) -> FileState | None:
    try:
        return state_of(path)
    except OSError:
        return None
