"""gRPC's own library as a transport."""

from authz.transports.grpcio.transport import GrpcioTransport, check_grpcio

__all__ = ["GrpcioTransport", "check_grpcio"]
