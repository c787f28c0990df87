"""The two ways in which a header block can be refused."""


class CompressionError(Exception):
    """A header block is invalid: the connection ends with COMPRESSION_ERROR (RFC 9113 4.3)."""


class HeaderListTooLargeError(Exception):
    """A header list is larger than its limits. The connection and its dynamic table stay valid."""
