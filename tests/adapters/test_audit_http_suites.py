"""HTTP sinks, held to what every sink on a network must do: receivers that fail in several ways."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from authz.adapters.audit.settings import HttpSinkSettings
from authz.adapters.audit.sinks.http_sink import HttpSink
from lab.ca import Authority
from support.conformance.network_sink import NetworkDestination, NetworkSinkConformance
from support.record_receiver import CUT, Received, RecordReceiver, Reply, always
from support.world import PATIENCE_SECONDS


class Receiver:
    """A receiver that is away when it is broken."""

    def __init__(self, server: RecordReceiver, ca_file: Path) -> None:
        """Take the server, and the CA of its certificate."""
        self.server = server
        settings = HttpSinkSettings.model_validate(
            {"url": server.url, "timeout": PATIENCE_SECONDS, "tls": {"ca_file": str(ca_file)}}
        )
        self.sink = HttpSink(settings, "siem")
        self._go = threading.Event()
        self._is_away = False

    def lines(self) -> list[str]:
        """Return what was taken."""
        return self.server.lines()

    def break_(self) -> None:
        """Go away."""
        self.server.stop()
        self._is_away = True

    def mend(self) -> None:
        """Be there, and answer well."""
        self.server.decide = always(Reply())
        self.sink._timeout = PATIENCE_SECONDS
        self._go.set()
        if self._is_away:
            self.server.start()
        self._is_away = False

    def cut(self) -> None:
        """Cut the connections."""
        self.server.cut()

    def hang(self) -> None:
        """Answer nothing; the sink is given a timeout that can be waited for."""
        go = self._go = threading.Event()

        def wait(_: Received) -> Reply:
            go.wait(PATIENCE_SECONDS)
            return CUT

        self.server.decide = wait
        self.sink._timeout = 0.5

    def lose_answers(self) -> None:
        """Take, and cut the connection."""
        self.server.decide = always(Reply(200, raw=b""))


class Unavailable(Receiver):
    """A receiver that says that it can't take anything when it is broken."""

    def break_(self) -> None:
        """Answer 503."""
        self.server.decide = always(Reply(503, body=b"try later"))


class Cutting(Receiver):
    """A receiver that cuts each connection in mid-answer when it is broken."""

    def break_(self) -> None:
        """Cut."""
        self.server.decide = always(Reply(0, raw=b"HTTP/1.1 2"))


@contextmanager
def serving(kind: type[Receiver], folder: Path) -> Iterator[Receiver]:
    """Run a receiver behind TLS."""
    authority = Authority(folder / "pki")
    server = RecordReceiver(authority.issue(dns=("localhost",)))
    receiver = kind(server, authority.path)
    try:
        yield receiver
    finally:
        receiver.mend()
        server.stop()


class TestAway(NetworkSinkConformance):
    """A receiver on whose port nobody listens."""

    def destination(self, folder: Path) -> AbstractContextManager[NetworkDestination]:
        """Return one."""
        return serving(Receiver, folder)


class TestUnavailable(NetworkSinkConformance):
    """A receiver that answers 503."""

    def destination(self, folder: Path) -> AbstractContextManager[NetworkDestination]:
        """Return one."""
        return serving(Unavailable, folder)


class TestCutting(NetworkSinkConformance):
    """A receiver whose answers break off."""

    def destination(self, folder: Path) -> AbstractContextManager[NetworkDestination]:
        """Return one."""
        return serving(Cutting, folder)
