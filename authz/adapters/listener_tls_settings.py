"""The ``tls`` section of addresses that others than proxies ask."""

from authz.core.settings import FileText, Settings


class ListenerTlsSettings(Settings):
    """TLS on an address of its own, such as that for signals."""

    certificate: FileText
    """A PEM file with the certificate, followed by its intermediates; a renewed one is used for
    the next connection.
    """
    private_key: FileText
    """A PEM file with the certificate's private key, not encrypted."""
    client_ca: FileText | None = None
    """A PEM file with CA certificates: only clients with a certificate of these may connect. Left
    out, clients show none.
    """
