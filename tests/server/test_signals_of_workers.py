"""Signals of a server with several workers, over TLS: the first worker alone receives them."""

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from lab.ca import Authority, Svid
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, Server
from support.receiving import EVENTS, LOGOUTS, TOKEN, address_of
from support.transmitter import CAEP, CLIENT, RECEIVER, Pusher, Transmitter
from support.world import wait_until

SESSION_REVOKED = f"{CAEP}session-revoked"
COUNTED = f'authz_signals_total{{event="session-revoked",issuer="{ISSUER}",result="revoked"}}'


class Workers:
    """A server of two workers, whose address for signals demands certificates."""

    def __init__(self, folder: Path) -> None:
        """Start."""
        self.authority = Authority(folder / "pki")
        self.own = self.authority.issue("spiffe://corp.example/authz", dns=("localhost",))
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self.jwks = JwksServer(self.issuer)
        self.revoked = folder / "revoked.jsonl"
        self.revoked.write_bytes(b"")
        token = folder / "token"
        token.write_text(TOKEN)
        changes = LAB.with_(("revocations",), {"file": str(self.revoked)}).with_(
            ("signals",),
            {
                "listen": "127.0.0.1:0",
                "tls": {
                    "certificate": str(self.own.certificate_path),
                    "private_key": str(self.own.key_path),
                    "client_ca": str(self.authority.path),
                },
                "transmitters": [
                    {
                        "issuer": ISSUER,
                        "audiences": [RECEIVER],
                        "push": {"path": EVENTS, "token_file": str(token)},
                    }
                ],
                "logout": [{"issuer": ISSUER, "client_ids": [CLIENT], "path": LOGOUTS}],
            },
        )
        jwks = f"{self.jwks.url}/jwks"
        self.server = Server(folder, "signals", jwks, changes=changes, workers=2).wait_ready()
        self.transmitter = Transmitter(self.issuer)

    def post(self, certificate: Svid | None) -> httpx.Response:
        """Post a valid event, once."""
        port = address_of(self.server).rpartition(":")[2]
        pusher = Pusher(f"https://localhost:{port}", TOKEN, self.authority.path)
        headers = {
            "authorization": f"Bearer {TOKEN}",
            "content-type": "application/secevent+jwt",
        }
        event = self.transmitter.event(SESSION_REVOKED)
        with pusher.client(certificate) as client:
            return client.post(pusher.url + EVENTS, content=event, headers=headers)

    def listening(self) -> int:
        """How often a worker began to listen for signals."""
        return self.server.process.log.read_text().count('"receiving signals"')

    def close(self) -> None:
        """Stop."""
        self.server.process.stop()
        self.jwks.close()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A running server."""
    made = Workers(tmp_path_factory.mktemp("signals-of-workers"))
    yield made
    made.close()


def test_the_first_worker_listens_again(workers: Workers) -> None:
    """One worker receives; when it is killed, the next in its place does."""
    shown = workers.authority.issue("spiffe://corp.example/idp")
    assert workers.post(shown).status_code == 202
    assert workers.listening() == 1
    wait_until(lambda: workers.server.metric(COUNTED) == 1)

    os.kill(first_of(workers.server), signal.SIGKILL)
    wait_until(lambda: workers.listening() == 2)
    wait_until(lambda: workers.post(shown).status_code == 202)

    assert len(workers.revoked.read_bytes().splitlines()) == 2
    wait_until(lambda: workers.server.metric(COUNTED) == 2)


def test_a_client_without_a_certificate(workers: Workers) -> None:
    """With client_ca, a client without a certificate gets no answer at all."""
    before = workers.revoked.read_bytes()
    with pytest.raises(httpx.TransportError):
        workers.post(None)
    foreign = Authority(workers.authority.folder / "foreign").issue("spiffe://corp.example/idp")
    with pytest.raises(httpx.TransportError):
        workers.post(foreign)

    assert workers.revoked.read_bytes() == before


def test_a_renewed_certificate(workers: Workers) -> None:
    """A renewed certificate is shown to the next client, and half of one to nobody."""
    shown = workers.authority.issue("spiffe://corp.example/idp")
    half = workers.own.certificate_path.read_text()[:100]
    workers.own.certificate_path.write_text(half)
    assert workers.post(shown).status_code == 202

    renewed = workers.authority.issue("spiffe://corp.example/authz", dns=("localhost",))
    workers.own.key_path.write_text(renewed.key_pem)
    workers.own.certificate_path.write_text(renewed.certificate_pem)
    assert workers.post(shown).status_code == 202
    wait_until(lambda: serial(workers) == renewed.certificate.serial_number)


def serial(workers: Workers) -> int:
    """The serial number of the certificate that is shown."""
    shown = workers.authority.issue("spiffe://corp.example/idp")
    context = ssl.create_default_context(cafile=str(workers.authority.path))
    context.load_cert_chain(shown.certificate_path, shown.key_path)
    host, _, port = address_of(workers.server).rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def first_of(server: Server) -> int:
    """The process id of the first worker."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    for child in map(int, children.split()):
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if "authz.server.worker" in words and words[words.index("authz.server.worker") + 2] == "0":
            return child
    raise AssertionError("there is no first worker")
