"""gRPC's status codes, as far as a transport gives them itself, and the error that carries one."""

from enum import IntEnum


class StatusCode(IntEnum):
    """Codes of ``grpc-status`` (gRPC's doc/statuscodes.md)."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class StatusError(Exception):
    """Signals that a call ends with a status and without an answer; the message is for the peer."""

    def __init__(self, code: StatusCode, message: str) -> None:
        """Take the code, and the text of ``grpc-message``."""
        super().__init__(message)
        self.code = code
        self.message = message
