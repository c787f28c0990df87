"""TLS on sockets that never block: in pieces, without HTTP/2, cut off, or not TLS at all."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from authz.adapters.tls_contexts import TlsContexts
from authz.transports.http2 import ErrorCode
from authz.transports.native import channel
from authz.transports.native.tls import ALPN
from lab.ca import Authority, Svid
from support.frames import connected, framed, grpc_context, secured
from support.http2 import ACK, DATA, PREFACE, SETTINGS, call, frame, settings
from support.inside import give_time, native_of
from support.ports import SERVER, WAYPOINT, Port, ask_once, listening
from support.raw import Raw, block_of
from support.scripted import Scripted
from support.world import wait_until


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    """A port that listens natively."""
    with listening(tmp_path, methods=Scripted().methods) as port:
        yield port


@pytest.fixture
def context(port: Port) -> ssl.SSLContext:
    """TLS of a client who may ask."""
    authority = port.world.authority
    return grpc_context(authority.path, authority.issue(WAYPOINT))


def unusable(authority: Authority) -> Svid:
    """Return a certificate that is sent with one whose key is too short for OpenSSL."""
    good, key = authority.issue(SERVER, dns=("localhost",)), rsa.generate_private_key(65537, 1024)
    below = (
        x509.CertificateBuilder()
        .subject_name(authority.certificate.subject)
        .issuer_name(authority.certificate.issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(good.certificate.not_valid_before_utc)
        .not_valid_after(good.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority._key, hashes.SHA256())
    )
    chain = good.certificate_pem + below.public_bytes(Encoding.PEM).decode()
    return replace(good, certificate_pem=chain)


def assert_answers(port: Port, context: ssl.SSLContext) -> None:
    """Another client is answered."""
    with Raw(secured(port.transport.addresses[0], context)) as other:
        other.call(1, b"known")
        assert other.answer(1) == b"known"


def served(port: Port, context: ssl.SSLContext) -> bytes | None:
    """Return the server's certificate as a new connection sees it, in DER."""
    with secured(port.transport.addresses[0], context) as client:
        return client.getpeercert(binary_form=True)


def assert_none_is_left(port: Port) -> None:
    """No connection is held any more."""
    wait_until(lambda: not native_of(port)._peers)


def test_byte_by_byte(port: Port, context: ssl.SSLContext) -> None:
    """A handshake and calls that come a byte at a time are as any others."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with connected(port.transport.addresses[0]) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def step(what: str, *args: object) -> object:
            while True:
                try:
                    return getattr(tls, what)(*args)
                except ssl.SSLWantReadError:
                    drip(raw, outgoing.read())
                    incoming.write(raw.recv(1 << 16))

        step("do_handshake")
        step("write", PREFACE + settings() + frame(SETTINGS, ACK, 0))
        step("write", call(1, framed(b"known"), block_of()))
        drip(raw, outgoing.read())
        answer = b""
        while b"known" not in answer:
            part = step("read", 1 << 16)
            assert isinstance(part, bytes)
            answer += part
    assert_none_is_left(port)


def drip(raw: socket.socket, octets: bytes) -> None:
    """Send bytes one by one."""
    for at in range(len(octets)):
        raw.sendall(octets[at : at + 1])


def test_a_client_that_does_not_name_http_2(
    port: Port, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Without ALPN h2 there is no connection, whatever else the client can (RFC 9113 3.2)."""
    for names in ([], ["http/1.1"]):
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        other.load_verify_locations(port.world.authority.path)
        svid = port.world.authority.issue(WAYPOINT)
        other.load_cert_chain(svid.certificate_path, svid.key_path)
        if names:
            other.set_alpn_protocols(names)
        try:
            with secured(port.transport.addresses[0], other) as opened:
                assert not opened.recv(1)
        except OSError:
            pass
        assert_none_is_left(port)
    assert caplog.text.count("ALPN h2 is demanded") == 2
    assert_answers(port, context)


def test_a_client_that_says_goodbye(
    port: Port, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of TLS, or of TCP without it, is the end of a connection, and no fault."""
    for is_polite in (True, False):
        opened = secured(port.transport.addresses[0], context)
        with Raw(opened) as client:
            client.call(1, b"known")
            assert client.answer(1) == b"known"
            if is_polite:
                opened.unwrap().close()  # reads the server's goodbye
        assert_none_is_left(port)
    assert "ended a connection" not in caplog.text


def test_a_connection_that_is_altered(
    port: Port, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes that are no record of its TLS end a connection; a port of TLS takes nothing else."""
    opened = secured(port.transport.addresses[0], context)
    with Raw(opened) as client, socket.socket(fileno=opened.detach()) as tcp:
        tcp.settimeout(60.0)
        tcp.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        while tcp.recv(1 << 16):
            pass
        del client
    with connected(port.transport.addresses[0]) as plain:
        plain.sendall(PREFACE + settings())
        while plain.recv(1 << 16):
            pass
    assert_none_is_left(port)
    assert caplog.text.count("ended a connection") == 2
    assert_answers(port, context)


def test_an_error_of_http_2_over_tls(port: Port, context: ssl.SSLContext) -> None:
    """The client reads why its connection ends."""
    with Raw(secured(port.transport.addresses[0], context)) as client:
        client.send(frame(DATA, 0, 1, b"x"))  # on an idle stream
        while not client.goaways():
            assert client.read()
        assert ErrorCode(client.goaways()[0].error_code) is ErrorCode.PROTOCOL_ERROR
    assert_none_is_left(port)


def test_handshakes_that_do_not_end(
    port: Port, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold up nobody, and are hung up on in time."""
    give_time(monkeypatch, 60.0)
    monkeypatch.setattr(channel, "HANDSHAKE_SECONDS", 0.5)
    silent = [connected(port.transport.addresses[0]) for _ in range(20)]
    for one in silent[10:]:
        one.sendall(b"\x16\x03\x01")
    assert_answers(port, context)
    for one in silent:
        assert one.recv(1) == b""
        one.close()
    assert_none_is_left(port)


def test_a_new_certificate_that_tls_can_not_use(
    port: Port, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one stays in use and the log says why, until there is one that TLS can use."""
    authority = port.world.authority
    port.write(unusable(authority), authority)
    wait_until(lambda: port.tls.status().taken == 1)
    before = served(port, context)
    assert "TLS can't use the new certificate; the last one stays in use: " in caplog.text

    good = authority.issue(SERVER, dns=("localhost",))
    port.write(good, authority)
    wait_until(lambda: port.tls.status().taken == 2)
    assert before != served(port, context) == good.certificate.public_bytes(Encoding.DER)


def test_an_unusable_certificate_keeps_no_caller(port: Port) -> None:
    """While the last certificate stays in use, callers are held to the CAs of now."""
    authority, other = port.world.authority, Authority(port.folder / "other", "other")
    port.write(unusable(authority), other)
    wait_until(lambda: port.tls.status().taken == 1)
    assert ask_once(port, authority.issue(WAYPOINT)) == "PERMISSION_DENIED"


def test_a_key_of_another_certificate_keeps_no_caller(port: Port) -> None:
    """Nor does a key that does not fit: the CA that was withdrawn with it is gone."""
    authority, other = port.world.authority, Authority(port.folder / "other", "other")
    port.write(authority.issue(SERVER), other)
    key = port.folder / "..data" / "tls.key"
    key.write_bytes(authority.issue(SERVER).key_path.read_bytes())
    wait_until(lambda: port.tls.status().refused == 1)
    assert ask_once(port, authority.issue(WAYPOINT)) == "UNAVAILABLE"  # in the handshake


def test_files_that_come_back(port: Port, context: ssl.SSLContext) -> None:
    """When the files of before are there again, so are their CAs."""
    data, kept = port.folder / "..data", {}
    for name in ("tls.crt", "tls.key", "ca.crt"):
        kept[name] = (data / name).read_bytes()
    other = Authority(port.folder / "other", "other")
    (data / "ca.crt").write_bytes(other.path.read_bytes())
    (data / "tls.key").write_bytes(other.issue(SERVER).key_path.read_bytes())
    wait_until(lambda: port.tls.status().refused == 1)
    assert port.tls.authorities == (other.certificate,)

    for name, content in kept.items():
        (data / name).write_bytes(content)
    wait_until(lambda: port.tls.authorities == (port.world.authority.certificate,))
    assert_answers(port, context)


def test_a_bundle_with_a_comment(port: Port, context: ssl.SSLContext) -> None:
    """CAs may stand between lines of text, in any language."""
    bundle = port.folder / "..data" / "ca.crt"
    bundle.write_bytes("# von unserer Prüfstelle\n".encode() + bundle.read_bytes())
    wait_until(lambda: port.tls.status().taken == 1)
    assert_answers(port, context)
    assert TlsContexts(port.tls, ALPN).current().get_ca_certs()
