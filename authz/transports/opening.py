"""Takes the transport that the config names."""

from authz.adapters.tls import ServerTls
from authz.edge.settings import ServerSettings, TransportKind
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


def check_transport(settings: ServerSettings, tls: ServerTls | None) -> None:
    """Require that ``open_transport`` could prepare the transport, with our certificate if given.

    Raises TransportError.
    """
    if settings.transport is TransportKind.GRPCIO:
        from authz.transports.grpcio import check_grpcio  # noqa: PLC0415 - see above

        check_grpcio()
    elif tls is not None:
        from authz.transports.native import contexts_of  # noqa: PLC0415 - see above

        contexts_of(tls)
