"""The faults of signals, in the codes of RFC 8935 section 2.4, which RFC 8936 uses too."""

from enum import StrEnum


class SignalFault(StrEnum):
    """The registered codes."""

    INVALID_REQUEST = "invalid_request"
    INVALID_KEY = "invalid_key"
    INVALID_ISSUER = "invalid_issuer"
    INVALID_AUDIENCE = "invalid_audience"
    AUTHENTICATION_FAILED = "authentication_failed"
    ACCESS_DENIED = "access_denied"


class SignalError(Exception):
    """Signals a token that is refused for good; the message is for the other side and the log.

    It holds nothing of the token.
    """

    def __init__(self, fault: SignalFault, message: str) -> None:
        """Take the code, and the words."""
        super().__init__(message)
        self.fault = fault


class SignalKeyUnknownError(SignalError):
    """Signals a token whose key its sender does not publish, or not yet."""


class SignalUnverifiedError(Exception):
    """Signals a token that can't be verified now, as there are no keys: it may be good later."""
