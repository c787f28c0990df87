"""Follows the SPIFFE agent on this machine: it pushes what changes, and is asked only to begin.

Each call to the agent costs it an attestation of this process, in Kubernetes a question to the
kubelet. So one call stays open (SPIFFE Workload API section 4.4), and its last answer is read from
memory, however often. A stream that ends is opened anew, at most every ``RETRY_SECONDS``.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from authz.adapters.workload_api import why_failed
from authz.core.extras import missing_extra
from authz.core.told_error import ToldError

if TYPE_CHECKING:  # an optional extra
    from spiffe import WorkloadApiClient

RETRY_SECONDS: Final = 5.0  # between calls to an agent that fails, or whose stream has ended
_T = TypeVar("_T")


class AgentError(ToldError):
    """Signals that the agent gives no usable answer; the message names the socket and says why."""


@dataclass(frozen=True, slots=True)
class AgentCall(Generic[_T]):
    """A call of the Workload API, by the names of the library's methods.

    Attributes:
        fetch: the method that takes one answer.
        follow: the method that takes all of them, as they come.
        read: makes a value of an answer. Raises AgentError for an unusable one.
    """

    fetch: str
    follow: str
    read: Callable[[Any], _T]


class AgentStream(Generic[_T]):
    """The agent's last answer to a call. One thread asks for it."""

    def __init__(
        self, address: str, call: AgentCall[_T], timeout_seconds: float, confirm_seconds: float
    ) -> None:
        """Take the socket's address; nothing is asked yet.

        A call that takes one answer ends after ``timeout_seconds``. An answer is asked for again
        when the agent has said nothing for ``confirm_seconds``: it may hang, with an open stream.
        """
        self._address = address
        self._call = call
        self._timeout_seconds = timeout_seconds
        self._confirm_seconds = confirm_seconds
        self._lock = threading.Lock()  # the stream's thread and ours
        self._values: list[_T] = []  # the last one
        self._error = ""
        self._asked_at = self._confirmed_at = float("-inf")  # monotonic seconds
        self._number = 0  # of the stream: an older one has nothing to say
        self._is_live = False
        self._may_open = False
        self._end: Callable[[], None] = lambda: None

    def newest(self) -> _T:
        """Return the agent's last answer, and follow it from now on. Raises AgentError.

        Blocks for the timeout at most, and seldom.
        """
        now = time.monotonic()
        with self._lock:
            if self._is_live and now - self._confirmed_at < self._confirm_seconds:
                return self._values[0]
        if now - self._asked_at >= RETRY_SECONDS:
            self.fetch()
        if self._error:
            raise AgentError(self._error)
        if self._may_open and not self._is_live:
            self._open()
        with self._lock:
            return self._values[0]

    def fetch(self) -> _T:
        """Ask the agent once. Blocks for the timeout at most. Raises AgentError."""
        self._asked_at = time.monotonic()
        try:
            value = self._fetched()
        except AgentError as error:
            self._error = str(error)
            raise
        with self._lock:
            self._take(value)
        self._error, self._may_open = "", True
        return value

    def close(self) -> None:
        """Stop following the agent."""
        with self._lock:
            self._number += 1
            self._is_live = False
        self._end()

    def _fetched(self) -> _T:
        seconds = self._timeout_seconds
        try:
            with _client(self._address, seconds) as client:
                return self._call.read(getattr(client, self._call.fetch)())
        except AgentError:
            raise
        except Exception as error:  # noqa: BLE001 - the library raises gRPC's and its own
            raise AgentError(why_failed(self._address, error, seconds)) from None

    def _take(self, value: _T) -> None:
        self._values, self._confirmed_at = [value], time.monotonic()

    def _open(self) -> None:
        """Follow the agent, in a thread of the library. Never raises."""
        self.close()
        self._may_open = False
        with self._lock:
            number, self._is_live = self._number, True

        def came(answer: object) -> None:
            value = self._call.read(answer)  # an unusable answer ends the stream: the next is asked
            with self._lock:
                if number == self._number:
                    self._take(value)

        def ended(_: Exception) -> None:
            with self._lock:
                self._is_live = self._is_live and number != self._number

        try:
            client = _client(self._address, None)
            handle = getattr(client, self._call.follow)(came, ended, retry_connect=False)
        except Exception as error:  # noqa: BLE001 - the socket may be gone since then
            ended(error)
            return

        def end() -> None:
            handle.cancel()
            client.close()

        self._end = end


def _client(address: str, timeout_seconds: float | None) -> "WorkloadApiClient":
    try:
        from spiffe import WorkloadApiClient  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise AgentError(missing_extra("spiffe", "the Workload API needs")) from None
    return WorkloadApiClient(address, default_timeout=timeout_seconds)
