"""The chained audit log of a server with workers: one run, a log each, closed after a kill."""

import os
import signal
from pathlib import Path

import grpc

from authz._pb import ext_authz_pb2 as pb
from lab.ca import Authority
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from lab.storm import CHECK
from support.audit_chain import NAME, Proven, key_in, verifier
from support.world import PATIENCE_SECONDS, READ, check_request, reason_of, wait_until


def asked(socket: Path, message: bytes) -> str:
    """Ask a worker, once it listens; return the reason."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        grpc.channel_ready_future(channel).result(PATIENCE_SECONDS)
        check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
        return reason_of(check(message, timeout=PATIENCE_SECONDS))


def worker_pid(server: Server, number: int) -> int:
    """The process of a worker, 0 if there is none now."""
    pid = server.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if "authz.server.worker" in words and words[4] == str(number):
            return int(child)
    return 0


def test_logs_of_workers(tmp_path: Path) -> None:
    """Each worker has a log of the same run, and that of a killed one is closed by the next."""
    jwks = JwksServer(issuer := Issuer(ISSUER, AUDIENCE))
    chain = {"key": str(key_in(tmp_path)), "name": NAME, "interval": "200ms"}
    changes = LAB.with_(("audit", "chain"), chain)
    server = Server(tmp_path, "own", f"{jwks.url}/jwks", "0s", changes=changes, workers=2)
    try:
        server.wait_ready()
        svid = Authority(tmp_path / "pki").issue(TRAVEL)
        token = issuer.token(TRAVEL, scope=READ)
        message = check_request(svid, [("authorization", f"Bearer {token}")]).SerializeToString()
        answers = {asked(socket, message) for socket in server.sockets}
        first = worker_pid(server, 1)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: worker_pid(server, 1) not in {0, first})
        wait_until(lambda: server.get("/readyz")[0] == 200)
        answers.add(asked(server.sockets[1], message))
        timestamp = server.metric("authz_audit_checkpoint_timestamp_seconds")
    finally:
        server.process.stop()
        jwks.close()
    proven = Proven(server.audit, key=verifier(tmp_path))
    opened = [one for one in proven.records if one["audit"] == "opened"]
    closed = [one for one in proven.records if one["audit"] == "closed"]

    assert answers == {"allow"}
    assert timestamp > 0
    assert sorted((one["worker"], one["workers"]) for one in opened) == [(0, 2), (1, 2), (1, 2)]
    assert len({one["run"] for one in opened}) == 1
    assert sorted(one["reason"] for one in closed) == ["crashed", "stopped", "stopped"]
    assert all(proven.covered[log] == len(leaves) for log, leaves in proven.logs.items())
