"""Takes the transport that the config names."""

from authz.edge.settings import TransportKind
from authz.transports.transport import Transport, TransportParts


def open_transport(parts: TransportParts) -> Transport:
    """Prepare a transport; nothing runs before its ``start``. Raises TransportError.

    Only the transport that is wanted is imported: each has libraries of its own.
    """
    if parts.settings.transport is TransportKind.NATIVE:
        from authz.transports.native import NativeTransport  # noqa: PLC0415 - see above

        return NativeTransport(parts)
    from authz.transports.grpcio import GrpcioTransport  # noqa: PLC0415 - see above

    return GrpcioTransport(parts)
