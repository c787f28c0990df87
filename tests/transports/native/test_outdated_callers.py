"""Connections that outlive a certificate or the trust in its CA: the client is sent to a new one.

There it can show the certificate that it has by then. Here it would be refused, health checks too.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.ca import Authority, Svid
from lab.mesh import TRAVEL
from support.frames import HEALTH, grpc_context, secured
from support.inside import in_loop, native_of
from support.ports import SERVER, WAYPOINT, Port, listening
from support.raw import Raw
from support.world import LIFETIMES_SECONDS, wait_until

MAX_ID = 2**31 - 1


def is_known(port: Port) -> bool:
    """Tell whether the server has looked at its one client."""
    return in_loop(port, lambda: [one._is_timed for one in native_of(port)._peers]) == [True]


@contextmanager
def asked_by(port: Port, svid: Svid) -> Iterator[Raw]:
    """Open a connection with a certificate, and ask for our health there."""
    context = grpc_context(port.world.authority.path, svid)
    with Raw(secured(port.transport.addresses[0], context)) as client:
        client.call(1, b"", HEALTH)
        yield client


def test_a_client_is_asked_to_leave_before_its_certificate_ends(tmp_path: Path) -> None:
    """It has the last fifth of the time to connect anew, and no call is refused meanwhile."""
    with listening(tmp_path) as port:
        for seconds in LIFETIMES_SECONDS[1:]:
            svid = port.world.authority.issue(WAYPOINT, lifetime_seconds=60 + seconds)
            ends = svid.certificate.not_valid_after_utc.timestamp()
            with asked_by(port, svid) as client:
                while not client.goaways() and client.read():
                    pass
                asked_at = time.time()
            if asked_at < ends:
                break

        assert ends - seconds < asked_at < ends
        assert [one.last_stream_id for one in client.goaways()] == [MAX_ID]
        assert port.metric("authz_callers_refused_total") == 0


def test_a_client_whose_ca_is_removed_may_ask_again_elsewhere(tmp_path: Path) -> None:
    """No later call is taken on its connection, which GOAWAY tells (RFC 9113 6.8): it may retry."""
    with (
        listening(tmp_path) as port,
        asked_by(port, port.world.authority.issue(WAYPOINT)) as client,
    ):
        client.answer(1)
        other = Authority(tmp_path / "other", "other")
        port.write(other.issue(SERVER, dns=("localhost",)), other)
        wait_until(lambda: port.tls.authorities == (other.certificate,))
        client.call(3, b"", HEALTH)
        client.read_to_end()

        assert client.goaways()[-1].last_stream_id == 1
        assert not client.of(3)
        assert port.metric("authz_callers_refused_total") == 1


def test_a_client_that_has_not_asked_yet(tmp_path: Path) -> None:
    """Its connection ends with the trust in its CA too: its first call is made on a new one."""
    with listening(tmp_path) as port:
        svid = port.world.authority.issue(WAYPOINT)
        context = grpc_context(port.world.authority.path, svid)
        with Raw(secured(port.transport.addresses[0], context)) as client:
            wait_until(lambda: is_known(port))
            other = Authority(tmp_path / "other", "other")
            port.write(other.issue(SERVER, dns=("localhost",)), other)
            client.read_to_end()

            assert client.goaways()[-1].last_stream_id == 0


def test_a_client_that_was_never_allowed_is_looked_at_once(tmp_path: Path) -> None:
    """It is told at its calls, and its connection costs no more than before."""
    with listening(tmp_path) as port, port.hostile("tcp", TRAVEL) as client:
        wait_until(lambda: is_known(port))
        assert client.ends(client.call(b"", HEALTH)) == "7"
        assert not client.is_closed
