"""HTTP/2 (RFC 9113), for servers: bytes in and bytes out, no I/O."""
