"""Tells when an issuer's endpoint has failed, so that its circuit breaker opens."""

from typing import Final

from authz.adapters.shared_calls import ABOUT_THE_QUESTION

BREAKER_FAILURES: Final = 5  # failures in a row after which the endpoint is not asked
BREAKER_PAUSE_SECONDS: Final = 5.0  # then a single question tests whether it answers again
# These say that our credential or the URL is wrong, for any question.
_ABOUT_US: Final = frozenset({401, 403, 404, 405})


def is_failure(status: int) -> bool:
    """Tell whether an HTTP status is a failure of the endpoint, and not about one token."""
    return status in _ABOUT_US or status not in ABOUT_THE_QUESTION
