"""The Watches of health (grpc.health.v1): clients that want to learn of each change.

A client that does not read costs one message, the latest: whatever it does, nobody waits for it.
"""

from typing import Final, Protocol

from authz.transports.health import Health
from authz.transports.native.loop import attempt
from authz.transports.status import StatusCode, StatusError

# Of all clients. A proxy has one for each of its threads, and Kubernetes none.
MAX_WATCHES: Final = 1024


class Watcher(Protocol):
    """A connection with Watches."""

    def tell(self, stream_id: int, message: bytes) -> None:
        """Send a status, in place of an earlier one that was not sent yet."""

    def dismiss(self, stream_id: int) -> None:
        """End a Watch, because we stop."""

    def on_fault(self) -> None:
        """Give up after an exception of the others. Never raises."""


class Watches:
    """All Watches, and the last status that was sent to each."""

    def __init__(self, health: Health) -> None:
        """Begin without any."""
        self._health = health
        self._told: dict[tuple[Watcher, int], tuple[str, bytes]] = {}

    def add(self, watcher: Watcher, stream_id: int, data: bytes) -> bytes:
        """Begin a Watch; return the current status, its first message. Raises StatusError."""
        if len(self._told) >= MAX_WATCHES:
            raise StatusError(StatusCode.RESOURCE_EXHAUSTED, "too many watches")
        service = self._health.service_of(data)
        status = self._health.watched(service)
        self._told[watcher, stream_id] = service, status
        return status

    def remove(self, watcher: Watcher, stream_id: int) -> None:
        """Forget a call, if it is a Watch."""
        self._told.pop((watcher, stream_id), None)

    def tell_changes(self) -> None:
        """Send the status to each Watch that was last sent another."""
        for (watcher, stream_id), (service, told) in list(self._told.items()):
            status = self._health.watched(service)
            if status != told:
                self._told[watcher, stream_id] = service, status
                attempt(watcher.on_fault, watcher.tell, stream_id, status)

    def dismiss_all(self) -> None:
        """End all, so that a stop need not wait for them."""
        for watcher, stream_id in list(self._told):
            attempt(watcher.on_fault, watcher.dismiss, stream_id)
        self._told.clear()
