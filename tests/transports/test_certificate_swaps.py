"""Certificates that are swapped under load, in the layouts that clusters mount; and bad ones."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.adapters.tls import ServerTls
from authz.adapters.tls_settings import TlsSettings
from authz.edge.methods import methods_of
from authz.edge.settings import ServerSettings, TransportKind
from authz.transports.opening import open_transport
from authz.transports.transport import TransportParts
from lab.ca import Authority, Key, Svid
from support.mounted import LAYOUTS, Layout, Secret, pem_of, with_key_as
from support.ports import CHANGES, SERVER, WAYPOINT, Port, ask_once
from support.world import World, wait_until

SWAPS: Final = 25
PAUSE_SECONDS: Final = 0.03
BAD_KEY: Final = "Envoy and gRPC take no such key in a handshake: use ECDSA with P-256 or P-384"
Make = Callable[[Authority], Svid]


def good(authority: Authority, key: Key | None = None) -> Svid:
    """Issue a certificate that every proxy takes."""
    return authority.issue(SERVER, dns=("localhost",), key=key)


@contextmanager
def serving(layout: Layout, world: World, kind: TransportKind) -> Iterator[Port]:
    """Listen with the certificate of a layout."""
    layout.write(good(world.authority), pem_of(world.authority))
    with ExitStack() as stack:
        tls = ServerTls(TlsSettings(**layout.paths, allowed_callers=(WAYPOINT,)))
        stack.callback(tls.close)
        made = ServerSettings(listen=("127.0.0.1:0",), transport=kind)
        served, pool = methods_of(world.service), world.parts.pool
        transport = open_transport(TransportParts(made, served, tls, world.metrics, pool))
        tls.start()
        transport.start()
        stack.callback(transport.stop, 0)
        yield Port(world, transport, tls, Path(layout.paths["certificate"]).parent)


@dataclass
class Handshakes:
    """Proxies that connect all the time, and what they were answered."""

    port: Port
    answers: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Counter[str]:
        """Begin, and return the answers as they come."""
        caller = self.port.world.authority.issue(WAYPOINT)

        def run() -> None:
            while not self._stop.wait(0.005):
                self.answers[ask_once(self.port, caller)] += 1

        self._threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        return self.answers

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("kind", TransportKind)
@pytest.mark.parametrize("name", LAYOUTS)
def test_swaps_under_load(tmp_path: Path, name: str, kind: TransportKind) -> None:
    """No handshake fails, nothing counts as refused, and the last certificate comes into use."""
    layout: Layout = LAYOUTS[name](tmp_path)
    with World(tmp_path, CHANGES) as world, serving(layout, world, kind) as port:
        ca = pem_of(world.authority)
        with Handshakes(port) as answers:
            for _ in range(SWAPS):
                layout.write(good(world.authority), ca)
                time.sleep(PAUSE_SECONDS)
            last = world.authority.issue(SERVER, dns=("localhost",), lifetime_seconds=7200)
            layout.write(last, ca)
            ends = last.certificate.not_valid_after_utc.timestamp()
            wait_until(lambda: port.tls.status().not_after == ends)
            count = answers.total()
            wait_until(lambda: answers.total() > count + 2)

        assert answers.keys() == {"allow"}
        assert port.tls.status().refused == 0


def traditional(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as cert-manager writes it unless it is told otherwise: PKCS#1 or SEC 1."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def with_form(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Make:
    """Issue a certificate for a key in its traditional form."""
    return lambda authority: with_key_as(good(authority, key), traditional(key))


USABLE: Final[dict[str, Make]] = {
    "P-256, PKCS#8": good,
    "P-256, SEC 1": with_form(ec.generate_private_key(ec.SECP256R1())),
    "P-384, SEC 1": with_form(ec.generate_private_key(ec.SECP384R1())),
    "RSA, PKCS#1": with_form(rsa.generate_private_key(65537, 2048)),
}
# What is refused, and what is told of it after the file's name.
UNUSABLE: Final[dict[str, tuple[Make, str]]] = {
    "Ed25519": (lambda ca: good(ca, ed25519.Ed25519PrivateKey.generate()), BAD_KEY),
    "P-521": (lambda ca: good(ca, ec.generate_private_key(ec.SECP521R1())), BAD_KEY),
    "RSA of 1024 bits": (
        lambda ca: good(ca, rsa.generate_private_key(65537, 1024)),
        BAD_KEY,
    ),
    "expired": (
        lambda ca: ca.issue(SERVER, dns=("localhost",), starts_in_seconds=-99, lifetime_seconds=9),
        "it expired at ",
    ),
    "not yet valid": (
        lambda ca: ca.issue(SERVER, dns=("localhost",), starts_in_seconds=3600),
        "it is not valid before ",
    ),
    "for clients": (
        lambda ca: ca.issue(SERVER, dns=("localhost",), usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        "it is not for server authentication, by its extended key usage",
    ),
    "without a name": (
        lambda ca: ca.issue(common_name="localhost"),
        "it has no subject alternative name",
    ),
    "another key": (
        lambda ca: with_key_as(good(ca), good(ca).key_pem.encode()),
        "does not belong to the certificate in ",
    ),
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and call files at rest soon: nothing else writes them."""
    monkeypatch.setattr("authz.adapters.tls.WATCH_SECONDS", 0.05)
    for module in ("files", "tls"):
        monkeypatch.setattr(f"authz.adapters.{module}.STABLE_SECONDS", 0.2)


@pytest.mark.usefixtures("soon")
def test_bad_certificates_replace_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each is told once, with its file and what is wrong, and the one before stays in use."""
    layout = Secret(tmp_path)
    with World(tmp_path, CHANGES) as world, serving(layout, world, TransportKind.NATIVE) as port:
        authority, caller = world.authority, world.authority.issue(WAYPOINT)
        before = port.tls.material
        for number, (make, words) in enumerate(UNUSABLE.values(), 1):
            caplog.clear()
            layout.write(make(authority), pem_of(authority))
            wait_until(lambda count=number: port.tls.status().refused == count)  # type: ignore[misc]

            assert ask_once(port, caller) == "allow"
            (told,) = [
                record.getMessage() for record in caplog.records if record.levelname == "ERROR"
            ]
            assert told.startswith("certificate not reloaded; the last valid one stays in use: ")
            assert words in told
            assert layout.paths["certificate"] in told
            assert "\n" not in told
        assert port.tls.material is before
        for number, make in enumerate(USABLE.values(), 1):
            layout.write(make(authority), pem_of(authority))
            wait_until(lambda count=number: port.tls.status().taken == count)  # type: ignore[misc]
            assert ask_once(port, caller) == "allow"
        assert port.tls.status().refused == len(UNUSABLE)


@pytest.mark.usefixtures("soon")
def test_one_that_begins_in_a_moment(tmp_path: Path) -> None:
    """A CA whose clock is ahead of ours is no fault: its certificate is taken when it begins."""
    layout = Secret(tmp_path)
    with World(tmp_path, CHANGES) as world, serving(layout, world, TransportKind.NATIVE) as port:
        ahead = world.authority.issue(SERVER, dns=("localhost",), starts_in_seconds=2)
        layout.write(ahead, pem_of(world.authority))
        wait_until(lambda: port.tls.status().taken)

        assert ahead.certificate.not_valid_before_utc.timestamp() <= time.time()
        assert port.tls.status().refused == 0


@pytest.mark.usefixtures("soon")
def test_a_kind_that_was_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who began with a key that Envoy does not take is told, and may renew such a certificate."""
    authority, layout = Authority(tmp_path / "ca"), Secret(tmp_path)

    def edwards() -> Svid:
        return good(authority, ed25519.Ed25519PrivateKey.generate())

    layout.write(edwards(), pem_of(authority))
    tls = ServerTls(TlsSettings(**layout.paths, allowed_callers=(WAYPOINT,)))
    tls.start()
    try:
        assert f"no proxy can connect: {layout.paths['certificate']}: {BAD_KEY}" in caplog.text
        layout.write(edwards(), pem_of(authority))
        wait_until(lambda: tls.status().taken)
        assert tls.status().refused == 0
    finally:
        tls.close()


@pytest.mark.usefixtures("soon")
def test_the_one_in_use_expires(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate that nothing renews is told once, with its file, when its time is over."""
    authority, layout = Authority(tmp_path / "ca"), Secret(tmp_path)
    layout.write(authority.issue(SERVER, lifetime_seconds=61), pem_of(authority))
    tls = ServerTls(TlsSettings(**layout.paths, allowed_callers=(WAYPOINT,)))
    tls.start()
    told = f"no proxy can connect: {layout.paths['certificate']}: it expired at "
    try:
        wait_until(lambda: told in caplog.text)
        layout.write(good(authority), pem_of(authority))
        wait_until(lambda: tls.status().taken)
        assert caplog.text.count(told) == 1
    finally:
        tls.close()
