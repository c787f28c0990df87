"""gRPC over HTTP/2 without I/O: which call a request is, its message, and the answers' bytes.

The protocol is gRPC's doc/PROTOCOL-HTTP2.md, for unary calls and for streams that we write.
"""
