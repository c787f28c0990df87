"""A server that listens on a TLS port and on a unix socket, and proxies that ask it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.tls import ServerTls
from authz.adapters.tls_settings import TlsSettings
from authz.edge.methods import AUTHORIZATION, Methods, methods_of
from authz.edge.settings import ServerSettings, TransportKind
from authz.transports.opening import open_transport
from authz.transports.transport import Transport, TransportParts
from lab.ca import Authority, Svid
from lab.config_builder import LAB
from support.frames import Hostile, connected, grpc_context, secured
from support.world import PATIENCE_SECONDS, World, check_request, reason_of

WAYPOINT = "spiffe://corp.example/ns/istio-system/sa/waypoint"
SERVER = "spiffe://corp.example/ns/authz/sa/agent-authz"
transport_kind = TransportKind.NATIVE  # what ``listening`` listens with, unless it is told
CHANGES = LAB.with_profile("waypoint", f"{{certificate: optional, callers: ['{WAYPOINT}']}}")


@dataclass
class Port:
    """A listening server, and the files that it reads.

    Its addresses are those of TLS ports, and of a unix socket at last.
    """

    world: World
    transport: Transport
    tls: ServerTls
    folder: Path

    def write(self, svid: Svid, *authorities: Authority | x509.Certificate) -> None:
        """Put a certificate in place, as a renewal does: files at once, by a link."""
        version = self.folder / f"v{time.monotonic_ns()}"
        version.mkdir()
        (version / "tls.crt").write_text(svid.certificate_pem)
        (version / "tls.key").write_text(svid.key_pem)
        certificates = [
            signer.certificate if isinstance(signer, Authority) else signer
            for signer in authorities
        ]
        pems = [certificate.public_bytes(Encoding.PEM) for certificate in certificates]
        (version / "ca.crt").write_bytes(b"".join(pems))
        link = self.folder / "..data.new"
        link.symlink_to(version)
        link.rename(self.folder / "..data")

    def hostile(self, kind: str = "unix", name: str = WAYPOINT, **options: Any) -> Hostile:
        """Open a connection that writes frames: to the unix socket, or a TLS port by name."""
        if kind == "unix":
            return Hostile(connected(self.transport.addresses[-1]), **options)
        authority = self.world.authority
        context = grpc_context(authority.path, authority.issue(name))
        return Hostile(secured(self.transport.addresses[0], context), **options)

    def metric(self, name: str, **labels: str) -> float:
        """Return a counter's value."""
        value = self.world.registry.get_sample_value(name, labels)
        assert value is not None
        return value


@contextmanager
def listening(
    folder: Path, addresses: int = 1, methods: Methods | None = None, **settings: Any
) -> Iterator[Port]:
    """Run a server on TLS ports of loopback and a unix socket: a world's, or of some methods."""
    with ExitStack() as stack:
        world = stack.enter_context(World(folder, CHANGES))
        files = folder / "tls"
        files.mkdir()
        port = Port(world, None, None, files)  # type: ignore[arg-type] # set below
        port.write(world.authority.issue(SERVER, dns=("localhost",)), world.authority)
        port.tls = ServerTls(
            TlsSettings(
                certificate=str(files / "..data" / "tls.crt"),
                private_key=str(files / "..data" / "tls.key"),
                client_ca=str(files / "..data" / "ca.crt"),
                allowed_callers=("spiffe://corp.example/ns/gateways/sa/*", WAYPOINT),
            )
        )
        stack.callback(port.tls.close)
        listen = (*["127.0.0.1:0"] * addresses, f"unix:{folder}/authz.sock")
        made = ServerSettings(listen=listen, **{"transport": transport_kind, **settings})
        served, pool = methods or methods_of(world.service), world.parts.pool
        port.transport = open_transport(TransportParts(made, served, port.tls, world.metrics, pool))
        port.tls.start()
        port.transport.start()
        stack.callback(port.transport.stop, 0)
        yield port


@contextmanager
def channel(
    port: Port, svid: Svid | None, ca: bytes = b"", address: int = 0
) -> Iterator[grpc.Channel]:
    """Open a proxy's connection, with its certificate."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=ca or port.world.authority.path.read_bytes(),
        private_key=svid.key_pem.encode() if svid else None,
        certificate_chain=svid.certificate_pem.encode() if svid else None,
    )
    options = (
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.use_local_subchannel_pool", 1),
    )
    target = port.transport.addresses[address]
    with grpc.secure_channel(target, credentials, options) as open_channel:
        yield open_channel


def message_of(port: Port) -> pb.CheckRequest:
    """Make a check without the agent's certificate, which is allowed if a waypoint asks."""
    return check_request(None, [("authorization", f"Bearer {port.world.token()}")])


def ask(open_channel: grpc.Channel, port: Port) -> str:
    """Ask, and return the reason, or the RPC's status."""
    check = open_channel.unary_unary(
        f"/{AUTHORIZATION}/Check", pb.CheckRequest.SerializeToString, pb.CheckResponse.FromString
    )
    try:
        return reason_of(check(message_of(port), timeout=PATIENCE_SECONDS))
    except grpc.RpcError as error:
        return str(error.code().name)


def ask_once(port: Port, svid: Svid | None, ca: bytes = b"", address: int = 0) -> str:
    """Ask on a connection of its own."""
    with channel(port, svid, ca, address) as open_channel:
        return ask(open_channel, port)


def answer_on_the_socket(port: Port) -> str:
    """Ask as another client, on a connection of its own, and return the answer."""
    with grpc.insecure_channel(port.transport.addresses[-1]) as open_channel:
        return ask(open_channel, port)


@contextmanager
def listening_plainly(
    folder: Path, *listen: str, methods: Methods | None = None, **settings: Any
) -> Iterator[Port]:
    """Run a server without TLS on some addresses."""
    with World(folder) as world:
        made = ServerSettings(listen=listen, **{"transport": transport_kind, **settings})
        served, pool = methods or methods_of(world.service), world.parts.pool
        transport = open_transport(TransportParts(made, served, None, world.metrics, pool))
        try:
            transport.start()
            yield Port(world, transport, None, folder)  # type: ignore[arg-type] # there is none
        finally:
            transport.stop(0)
