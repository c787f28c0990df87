"""The two kinds of errors of HTTP/2: of the connection, and of one stream (RFC 9113 5.4)."""

from authz.transports.http2.codes import ErrorCode


class ConnectionFault(Exception):  # noqa: N818 - a peer's fault, not an error of ours
    """Ends the connection with GOAWAY (RFC 9113 5.4.1).

    Attributes:
        code: the error code for the peer.
        words: the fault in ASCII, for the GOAWAY's debug data; none of the peer's bytes.
    """

    def __init__(self, code: ErrorCode, words: str) -> None:
        """Take the code, and the fault in words."""
        super().__init__(words)
        self.code = code
        self.words = words


class StreamFault(Exception):  # noqa: N818 - a peer's fault, not an error of ours
    """Ends one stream with RST_STREAM (RFC 9113 5.4.2).

    Attributes:
        stream_id: the stream that ends.
        code: the error code that the peer is told.
    """

    def __init__(self, stream_id: int, code: ErrorCode, words: str) -> None:
        """Take the stream, the code, and the fault in words."""
        super().__init__(words)
        self.stream_id = stream_id
        self.code = code


class MalformedError(Exception):
    """Signals a field section that makes a request malformed (RFC 9113 8.1.1)."""
