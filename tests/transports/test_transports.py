"""The ways to listen, each held to what every transport must do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from authz.edge.methods import AUTHORIZATION, Methods
from authz.edge.settings import ServerSettings
from authz.transports.opening import open_transport
from authz.transports.transport import Transport, TransportParts
from lab.ca import Authority, Svid
from lab.mesh import TRAVEL
from support import ports
from support.conformance.secure_transport import SecureEndpoint, SecureTransportConformance
from support.conformance.transport import Answerer, Endpoint, TransportConformance
from support.ports import WAYPOINT, listening
from support.world import World

pytestmark = pytest.mark.usefixtures("each_transport")


def methods_of(answerer: Answerer) -> Methods:
    """Return the one method that the clauses call."""
    return {AUTHORIZATION: {"Check": answerer}}


@dataclass
class Listening:
    """A transport on one address."""

    transport: Transport
    address: str

    def stop(self, grace_seconds: float) -> None:
        """Stop it."""
        self.transport.stop(grace_seconds)


@dataclass
class Secured(Listening):
    """A transport on a TLS port."""

    authority: Authority
    listed: Svid
    stranger: Svid


class TestUnixSocket(TransportConformance):
    """A unix socket, whose file system says who may ask."""

    @contextmanager
    def serving(self, folder: Path, answerer: Answerer) -> Iterator[Endpoint]:
        """Listen there."""
        with listening(folder, methods=methods_of(answerer)) as port:
            yield Listening(port.transport, port.transport.addresses[-1])


class TestTcp(TransportConformance):
    """A port of loopback without TLS."""

    @contextmanager
    def serving(self, folder: Path, answerer: Answerer) -> Iterator[Endpoint]:
        """Listen there."""
        settings = ServerSettings(listen=("127.0.0.1:0",), transport=ports.transport_kind)
        with World(folder) as world:
            methods, pool = methods_of(answerer), world.parts.pool
            transport = open_transport(TransportParts(settings, methods, None, world.metrics, pool))
            transport.start()
            try:
                yield Listening(transport, transport.addresses[0])
            finally:
                transport.stop(0)


class TestTls(SecureTransportConformance):
    """A port with TLS."""

    caller = WAYPOINT

    @contextmanager
    def serving(self, folder: Path, answerer: Answerer) -> Iterator[SecureEndpoint]:
        """Listen there."""
        with listening(folder, methods=methods_of(answerer)) as port:
            authority, address = port.world.authority, port.transport.addresses[0]
            people = authority.issue(WAYPOINT), authority.issue(TRAVEL)
            yield Secured(port.transport, address, authority, *people)
