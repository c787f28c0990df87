"""gRPC's own library as a transport."""

from authz.transports.grpcio.transport import GrpcioTransport

__all__ = ["GrpcioTransport"]
