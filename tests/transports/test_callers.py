"""The certificates of calling proxies: checked by the clock and our CAs at every call."""

import ssl
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from authz.edge.settings import TransportKind
from lab.ca import Authority, Svid
from support.frames import HEALTH, Hostile, grpc_context, secured
from support.ports import SERVER, WAYPOINT, ask, ask_once, channel, listening
from support.world import LIFETIMES_SECONDS, wait_until

pytestmark = pytest.mark.usefixtures("each_transport")
REFUSED = "PERMISSION_DENIED"
# On a connection that had been allowed. Our own transport ends it, and the handshake of the next
# one, which the client makes by itself, fails.
REFUSED_LATER = {REFUSED, "UNAVAILABLE"}


def short_lived(authority: Authority, seconds: int) -> tuple[Svid, float]:
    """A certificate that ends soon, and when: they count whole seconds."""
    svid = authority.issue(WAYPOINT, lifetime_seconds=60 + seconds)
    return svid, svid.certificate.not_valid_after_utc.timestamp()


def intermediate(root: Authority, folder: Path) -> Authority:
    """Another authority, whose certificate is the root's."""
    authority = Authority(folder, "intermediate")
    own = authority.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(root.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
    )
    for extension in own.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    authority.certificate = builder.sign(root._key, hashes.SHA256())
    return authority


def chained(svid: Svid, authority: Authority) -> Svid:
    """The certificate with that of its authority after it, as a client shows both."""
    pem = svid.certificate_pem + authority.certificate.public_bytes(Encoding.PEM).decode()
    svid.certificate_path.write_text(pem)
    return Svid(svid.certificate, pem, svid.key_pem, svid.certificate_path, svid.key_path)


def test_a_certificate_that_ends_on_an_open_connection(
    tmp_path: Path, each_transport: TransportKind
) -> None:
    """Calls are answered while it is valid, and refused from the second on that it is not."""
    with listening(tmp_path) as port:
        for seconds in LIFETIMES_SECONDS:
            svid, ends = short_lived(port.world.authority, seconds)
            with channel(port, svid) as opened:
                asked_at = [time.time()]
                while (answer := ask(opened, port)) == "allow":
                    asked_at.append(time.time())
            if len(asked_at) > 1:
                break
        assert answer in REFUSED_LATER
        assert asked_at[-2] < ends <= time.time()
        if each_transport is TransportKind.GRPCIO:  # the other one refuses the connection
            assert port.metric("authz_callers_refused_total") >= 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_ended_and_a_resumed_session(
    tmp_path: Path, version: ssl.TLSVersion, each_transport: TransportKind
) -> None:
    """A session outlives nothing: it is resumed and its calls refused, or not even resumed.

    Our own transport forgets a session as its connection ends, so the first connections stay open.
    """
    is_resumed = each_transport is TransportKind.GRPCIO or version is ssl.TLSVersion.TLSv1_2
    with listening(tmp_path) as port, ExitStack() as stack:
        address = port.transport.addresses[0]
        for seconds in LIFETIMES_SECONDS:
            svid, ends = short_lived(port.world.authority, seconds)
            context = grpc_context(port.world.authority.path, svid)
            context.minimum_version = context.maximum_version = version
            client = stack.enter_context(Hostile(secured(address, context)))
            answers = [client.ends(client.call(b"", HEALTH))]
            assert isinstance(client.socket, ssl.SSLSocket)
            session = client.socket.session
            client = stack.enter_context(Hostile(secured(address, context, session)))
            answers.append(client.ends(client.call(b"", HEALTH)))
            assert client.socket.session_reused is is_resumed  # type: ignore[attr-defined]
            if answers == ["0", "0"]:
                break
        wait_until(lambda: time.time() > ends)

        try:
            with Hostile(secured(address, context, session)) as client:
                assert client.ends(client.call(b"", HEALTH)) == "7"
        except OSError:  # the handshake's end, which TLS 1.3 tells with the first read or write
            assert not is_resumed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ca": True, "signs_certificates": True}, "a CA certificate"),
        ({"ca": True}, "a CA certificate"),
        ({"signs_certificates": True}, "may sign certificates"),
        ({"key_usage": False}, "no key usage"),
    ],
)
def test_certificates_that_are_no_workloads(
    tmp_path: Path, changes: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The rules for agents' certificates hold for proxies': a CA is no caller; the log says why."""
    with listening(tmp_path) as port:
        assert ask_once(port, port.world.authority.issue(WAYPOINT, **changes)) == REFUSED
        assert f"refused a caller: its certificate: {why}" in caplog.text
        assert ask_once(port, port.world.authority.issue(WAYPOINT)) == "allow"


def test_chains(tmp_path: Path) -> None:
    """Intermediates that a proxy shows count, until the root above them is trusted no more."""
    with listening(tmp_path) as port:
        below = intermediate(port.world.authority, tmp_path / "below")
        svid = chained(below.issue(WAYPOINT), below)
        server = port.world.authority.issue(SERVER, dns=("localhost",))
        with channel(port, svid) as opened:
            assert ask(opened, port) == "allow"
            port.write(server, below)  # now the root, as far as we are concerned
            wait_until(lambda: port.tls.authorities == (below.certificate,))
            assert ask(opened, port) == "allow"
            port.write(server, Authority(tmp_path / "other", "other"))
            wait_until(lambda: ask(opened, port) in REFUSED_LATER)
            port.write(server, port.world.authority)
            wait_until(lambda: ask(opened, port) == "allow")


def test_a_ca_of_the_same_name_vouches_for_nothing(tmp_path: Path) -> None:
    """It is the key that counts: another CA that is called the same does not save a connection."""
    with listening(tmp_path) as port, channel(port, port.world.authority.issue(WAYPOINT)) as opened:
        assert ask(opened, port) == "allow"
        namesake = Authority(tmp_path / "namesake")
        port.write(namesake.issue(SERVER, dns=("localhost",)), namesake)
        wait_until(lambda: ask(opened, port) in REFUSED_LATER)


def test_a_ca_that_ends_on_an_open_connection(tmp_path: Path) -> None:
    """A chain holds as long as each of its certificates does."""
    with listening(tmp_path) as port:
        server = port.world.authority.issue(SERVER, dns=("localhost",))
        for seconds in LIFETIMES_SECONDS[1:]:  # files count once they have rested for a second
            short = Authority(tmp_path / f"{seconds}", "short", lifetime_seconds=seconds)
            port.write(server, short)
            wait_until(lambda short=short: port.tls.authorities == (short.certificate,))  # type: ignore[misc]
            with channel(port, short.issue(WAYPOINT)) as opened:
                if (answer := ask(opened, port)) == "allow":
                    wait_until(lambda opened=opened: ask(opened, port) in REFUSED_LATER)  # type: ignore[misc]
                    break
        assert answer == "allow"
        assert time.time() >= short.certificate.not_valid_after_utc.timestamp()


def test_refusals_are_logged_once_in_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that goes on asking costs one line, which has its name and no certificate."""
    with listening(tmp_path) as port:
        with channel(port, port.world.authority.issue("spiffe://corp.example/ns/x/sa/y")) as opened:
            for _ in range(20):
                assert ask(opened, port) == REFUSED
        assert caplog.text.count("refused a caller") == 1
        assert "spiffe://corp.example/ns/x/sa/y is not in allowed_callers" in caplog.text
        assert "BEGIN" not in caplog.text
        assert port.metric("authz_callers_refused_total") == 20
