"""Carry checks from proxies to the methods that answer them, and know no more of them than bytes.

``transport`` is what all have in common. ``http2`` and ``grpc`` are protocols without I/O;
``native`` serves them from one loop; ``grpcio`` is gRPC's own library. ``opening`` takes the one
that the config names.
"""
