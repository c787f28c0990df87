"""Header compression of HTTP/2 (HPACK, RFC 7541): bytes in and fields out, no I/O.

``HeaderDecoder`` reads the header blocks of one connection and has its dynamic table. ``encode``
writes blocks without the dynamic table, so that they are constants: valid on each connection.
"""

from authz.transports.http2.hpack.decoder import HeaderDecoder
from authz.transports.http2.hpack.encoder import NO_TABLE, encode
from authz.transports.http2.hpack.errors import CompressionError, HeaderListTooLargeError
from authz.transports.http2.hpack.static_table import Field

__all__ = [
    "NO_TABLE",
    "CompressionError",
    "Field",
    "HeaderDecoder",
    "HeaderListTooLargeError",
    "encode",
]
