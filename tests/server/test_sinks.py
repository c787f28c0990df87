"""A server with workers that sends its records to a file and to several receivers at once."""

from pathlib import Path

import grpc

from authz._pb import ext_authz_pb2 as pb
from lab.ca import Authority
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from lab.storm import CHECK
from support.audit_chain import NAME, key_in
from support.otlp_logs_receiver import grpc_receiver
from support.record_receiver import RecordReceiver
from support.rsyslog import Rsyslog
from support.world import PATIENCE_SECONDS, READ, check_request, reason_of, wait_until

BOM = "\ufeff"  # of what is not ASCII, as a checkpoint's signature line


def asked(socket: Path, message: bytes) -> str:
    """Ask a worker; return the reason."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        grpc.channel_ready_future(channel).result(PATIENCE_SECONDS)
        check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
        return reason_of(check(message, timeout=PATIENCE_SECONDS))


def test_every_sink_gets_every_line(tmp_path: Path) -> None:
    """A file, a collector, a SIEM and a syslog server have the same lines of a chained log."""
    jwks = JwksServer(issuer := Issuer(ISSUER, AUDIENCE))
    siem = RecordReceiver()
    written = tmp_path / "audit.jsonl"
    with grpc_receiver() as collector, Rsyslog(tmp_path / "rsyslog") as rsyslog:
        sinks = [
            {"path": str(written), "when_full": "deny"},
            {"otlp": {"endpoint": collector.endpoint, "insecure": True}},
            {"http": {"url": siem.url, "insecure": True}},
            {"syslog": {"address": rsyslog.address, "insecure": True}},
        ]
        chain = {"key": str(key_in(tmp_path)), "name": NAME, "interval": "200ms"}
        changes = LAB.with_(("audit",), {"sinks": sinks, "chain": chain})
        server = Server(tmp_path, "own", f"{jwks.url}/jwks", "0s", changes=changes, workers=2)
        try:
            server.wait_ready()
            svid = Authority(tmp_path / "pki").issue(TRAVEL)
            token = issuer.token(TRAVEL, scope=READ)
            message = check_request(svid, [("authorization", f"Bearer {token}")])
            for _ in range(10):
                for socket in server.sockets:
                    assert asked(socket, message.SerializeToString()) == "allow"
            wait_until(lambda: server.metric('authz_audit_records_total{sink="syslog"}') >= 20)
        finally:
            server.process.stop()
            jwks.close()
        lines = sorted(written.read_text().splitlines())
        got = {
            "otlp": [record.body.string_value for record in collector.records()],
            "http": siem.lines(),
            "syslog": [line.removeprefix(BOM) for line in rsyslog.lines()],
        }
    siem.stop()

    assert len([line for line in lines if '"decision":"allow"' in line]) == 20
    assert {name: sorted(one) for name, one in got.items()} == dict.fromkeys(got, lines)
