"""Takes the transport that the config names."""

from authz.transports.grpcio import GrpcioTransport
from authz.transports.transport import Transport, TransportParts


def open_transport(parts: TransportParts) -> Transport:
    """Prepare a transport; nothing runs before its ``start``. Raises TransportError."""
    return GrpcioTransport(parts)
