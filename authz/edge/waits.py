"""Keeps what a check waited for, and how long: a trace shows each wait as a span of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from authz.adapters.tracing.traced import Wait
from authz.core.reason import Denied
from authz.edge.clock import Clock

# More than the rounds of learning and the decision point take.
MAX_WAITS: Final = 16


class Waits:
    """The waits of one check, in their order. One thread at a time uses it.

    Attributes:
        kept: the waits that have ended.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin without waits; ``clock`` gives their times."""
        self.kept: list[Wait] = []
        self._clock = clock

    @contextmanager
    def waiting(self, name: str, issuer: str) -> Iterator[None]:
        """Keep the time within it as a wait for ``name``, and the error that ends it, if any."""
        started, begun = self._clock.moment()
        error = ""
        try:
            yield
        except Exception as raised:
            error = _kind_of(raised)
            raise
        finally:
            if len(self.kept) < MAX_WAITS:
                seconds = self._clock.monotonic() - begun
                self.kept.append(Wait(name, started, seconds, issuer, error))


@contextmanager
def waiting(waits: Waits | None, name: str, issuer: str = "") -> Iterator[None]:
    """Keep the time within it as a wait for ``name``, from ``issuer``; keep nothing without waits.

    Every error passes through.
    """
    if waits is None:
        yield
    else:
        with waits.waiting(name, issuer):
            yield


def _kind_of(error: Exception) -> str:
    """Return the kind of an error: the text could hold a secret. A refusal by policy is no error.

    It is the ``error.type`` of the semantic conventions.
    """
    if isinstance(error, Denied):
        return error.reason.code if error.reason.is_own_fault else ""
    return type(error).__name__
