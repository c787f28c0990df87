"""Our own port over mutual TLS: who may ask, and certificates that are renewed while it runs."""

import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from authz._pb import ext_mcp_pb2 as mcp
from authz.adapters.tls import ServerTls, TlsError
from authz.adapters.tls_settings import TlsSettings
from authz.edge.methods import EXT_MCP, methods_of
from authz.edge.settings import ServerSettings
from authz.transports.opening import open_transport
from authz.transports.transport import TransportParts
from lab.ca import Authority, Svid
from lab.mesh import GATEWAY, TRAVEL
from support.ext_mcp import reason_of as mcp_reason_of
from support.ext_mcp import request
from support.ports import CHANGES, SERVER, WAYPOINT, Port, ask, ask_once, channel, listening
from support.workload_api import WorkloadApi
from support.world import World, wait_until


def _changes(port: Port) -> tuple[int, int]:
    """How many changed certificates were taken, and refused."""
    status = port.tls.status()
    return status.taken, status.refused


def test_who_may_ask(tmp_path: Path) -> None:
    """Proxies that are listed get a decision, others PERMISSION_DENIED, strangers no connection."""
    with listening(tmp_path) as port:
        authority = port.world.authority
        stranger = Authority(tmp_path / "other")

        assert ask_once(port, authority.issue(GATEWAY)) == "agent_invalid"
        assert ask_once(port, authority.issue(WAYPOINT)) == "allow"
        for refused in (
            authority.issue("spiffe://corp.example/ns/agents/sa/travel"),
            authority.issue(dns=("gateway.corp.example",)),
            authority.issue(WAYPOINT, "spiffe://corp.example/ns/agents/sa/travel"),
            authority.issue("https://corp.example/ns/gateways/sa/edge"),
        ):
            assert ask_once(port, refused) == "PERMISSION_DENIED"
        for unknown in (None, stranger.issue(WAYPOINT)):
            assert ask_once(port, unknown) == "UNAVAILABLE"
        expired = authority.issue(WAYPOINT, starts_in_seconds=-100, lifetime_seconds=50)
        assert ask_once(port, expired) == "UNAVAILABLE"
        refusals = port.world.registry.get_sample_value("authz_callers_refused_total")
        assert refusals == 4


def test_who_may_ask_about_mcp(tmp_path: Path) -> None:
    """Agentgateway's service is for the same callers, who get what their profile says."""
    with listening(tmp_path) as port:
        authority = port.world.authority
        message = request("ping", token=port.world.token())

        def asked(svid: Svid) -> str:
            with channel(port, svid) as open_channel:
                check = open_channel.unary_unary(
                    f"/{EXT_MCP}/CheckRequest",
                    mcp.McpRequest.SerializeToString,
                    mcp.McpRequestResult.FromString,
                )
                try:
                    return mcp_reason_of(check(message, timeout=60))
                except grpc.RpcError as error:
                    return str(error.code().name)

        assert asked(authority.issue(WAYPOINT)) == "agent_missing"
        assert asked(authority.issue(TRAVEL)) == "PERMISSION_DENIED"


def test_a_unix_socket_needs_no_certificate(tmp_path: Path) -> None:
    """The file system protects a unix socket: its callers have no name, and no profile of one."""
    with (
        listening(tmp_path) as port,
        grpc.insecure_channel(port.transport.addresses[1]) as open_channel,
    ):
        assert ask(open_channel, port) == "agent_invalid"


def test_a_renewed_certificate_is_taken(tmp_path: Path) -> None:
    """New connections see the new certificate and CAs, on every address; open ones go on."""
    with listening(tmp_path, addresses=2) as port:
        old = port.world.authority.issue(WAYPOINT)
        renewed = Authority(tmp_path / "renewed", "renewed")
        caller, anchor = renewed.issue(WAYPOINT), renewed.path.read_bytes()
        with channel(port, old) as before:
            assert ask(before, port) == "allow"
            port.write(renewed.issue(SERVER, dns=("localhost",)), renewed, port.world.authority)

            wait_until(lambda: ask_once(port, caller, anchor) == "allow")
            assert ask_once(port, caller, anchor, address=1) == "allow"
            assert ask_once(port, old, anchor) == "allow"
            assert ask(before, port) == "allow"
        assert _changes(port) == (1, 0)


def test_a_ca_that_is_trusted_no_more(tmp_path: Path) -> None:
    """What it vouched for ends: new connections at once, calls on open ones within seconds."""
    with listening(tmp_path) as port:
        old = port.world.authority.issue(WAYPOINT)
        other = Authority(tmp_path / "other", "other")
        with channel(port, old) as before:
            assert ask(before, port) == "allow"
            port.write(other.issue(SERVER, dns=("localhost",)), other)

            # The open connection ends too: the client's next one is refused by the handshake.
            wait_until(lambda: ask(before, port) == "UNAVAILABLE")
        assert ask_once(port, old, other.path.read_bytes()) == "UNAVAILABLE"
        assert ask_once(port, other.issue(WAYPOINT), other.path.read_bytes()) == "allow"


def test_files_that_do_not_go_together_are_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A key of another certificate, garbage or no file: the last valid certificate stays."""
    with listening(tmp_path) as port:
        authority = port.world.authority
        caller = authority.issue(WAYPOINT)
        good = authority.issue(SERVER, dns=("localhost",))
        other = authority.issue(SERVER)
        bad = (replace(good, key_pem=other.key_pem), replace(good, certificate_pem="x"))
        for number, one in enumerate(bad, start=1):
            port.write(one, authority)
            while port.tls.status().refused < number:
                assert ask_once(port, caller) == "allow"
            assert ask_once(port, caller) == "allow"
        (tmp_path / "tls" / "..data").unlink()
        while port.tls.status().refused < 3:
            assert ask_once(port, caller) == "allow"
        for _ in range(3):
            assert ask_once(port, caller) == "allow"

        assert _changes(port) == (0, 3)
        assert caplog.text.count("can't be read") == 1
        assert "tls.key does not belong to the certificate in " in caplog.text
        assert "BEGIN" not in caplog.text


def test_a_bundle_that_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the CAs are rewritten in place none is missed, though half of them are good PEM too."""
    with listening(tmp_path) as port:
        second = Authority(tmp_path / "second", "second")
        bundle, caller = tmp_path / "tls" / "..data" / "ca.crt", second.issue(WAYPOINT)
        halves = (bundle.read_bytes(), second.certificate.public_bytes(Encoding.PEM))
        bundle.write_bytes(b"".join(halves))
        wait_until(lambda: ask_once(port, caller) == "allow")
        for module in ("files", "tls"):  # however busy we are
            monkeypatch.setattr(f"authz.adapters.{module}.STABLE_SECONDS", 3600.0)
        for _ in range(15):
            with bundle.open("wb", buffering=0) as file:
                file.write(halves[0])
                assert ask_once(port, caller) == "allow"
                time.sleep(0.1)
                assert ask_once(port, caller) == "allow"
                file.write(halves[1])
        monkeypatch.undo()
        bundle.write_bytes(halves[0])
        wait_until(lambda: ask_once(port, caller) == "UNAVAILABLE")
        assert _changes(port) == (2, 0)


def test_files_that_do_not_go_together_stop_the_start(tmp_path: Path) -> None:
    """What can't be used at the start is said, with the file's name where one is missing."""
    authority = Authority(tmp_path)
    one, two = authority.issue(SERVER), authority.issue(SERVER)

    def files(certificate: Path, key: Path) -> TlsSettings:
        return TlsSettings(
            certificate=str(certificate),
            private_key=str(key),
            client_ca=str(authority.path),
            allowed_callers=(WAYPOINT,),
        )

    ServerTls(files(one.certificate_path, one.key_path))
    with pytest.raises(TlsError, match="does not belong to the certificate"):
        ServerTls(files(one.certificate_path, two.key_path))
    with pytest.raises(TlsError, match=r"server\.tls\.certificate: .* holds a private key"):
        ServerTls(files(one.key_path, one.key_path))
    with pytest.raises(TlsError, match=r"none\.pem can't be read"):
        ServerTls(files(tmp_path / "none.pem", one.key_path))


def test_our_own_svid_by_the_workload_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent on the machine gives certificate and CA; it may renew them, and go away."""
    monkeypatch.setattr("authz.adapters.tls_svid.LOOK_SECONDS", 0.05)
    api = WorkloadApi(tmp_path / "api.sock")
    settings = TlsSettings(workload_api=api.address, allowed_callers=(WAYPOINT,))
    with pytest.raises(TlsError, match="Workload API"):
        ServerTls(settings)
    with World(tmp_path, CHANGES) as world:
        renewed = Authority(tmp_path / "renewed", "renewed")
        api.svid = (world.authority.issue(SERVER, dns=("localhost",)), world.authority)
        tls = ServerTls(settings)
        parts = TransportParts(
            ServerSettings(listen=("127.0.0.1:0",)),
            methods_of(world.service),
            tls,
            world.metrics,
            world.parts.pool,
        )
        transport = open_transport(parts)
        tls.start()
        transport.start()
        port = Port(world, transport, tls, tmp_path)
        try:
            assert ask_once(port, world.authority.issue(WAYPOINT)) == "allow"
            api.svid = (renewed.issue(SERVER, dns=("localhost",)), renewed)
            api.push()
            anchor = renewed.path.read_bytes()
            wait_until(lambda: ask_once(port, renewed.issue(WAYPOINT), anchor) == "allow")
            assert ask_once(port, world.authority.issue(WAYPOINT), anchor) == "UNAVAILABLE"
            api.close()
            wait_until(lambda: "the last valid certificate stays" in caplog.text)
            assert ask_once(port, renewed.issue(WAYPOINT), anchor) == "allow"
            assert caplog.text.count("the last valid certificate stays") == 1
        finally:
            transport.stop(0)
            tls.close()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"certificate": "a", "private_key": "b"},
        {"certificate": "a", "workload_api": "unix:/a"},
        {"workload_api": "/a"},
    ],
)
def test_settings_that_can_not_be_meant(values: dict[str, str]) -> None:
    """The three files, or the Workload API."""
    with pytest.raises(ValidationError):
        TlsSettings(allowed_callers=(WAYPOINT,), **values)
