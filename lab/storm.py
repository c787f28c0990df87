"""A rotation storm: an issuer that changes its keys all the time and is often away.

Requests with fresh tokens go through the real Envoy at a steady rate, while the issuer publishes a
key every few seconds, signs with it at once, takes the one before last away, and drops every
connection for a third of the time; made-up key ids come straight to the server meanwhile. What came
back is then compared with what was possible: ``python -m lab.storm --seconds 120``.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import httpx

from authz._pb import ext_authz_pb2 as pb
from lab.client import tls_context
from lab.issuer import Issuer, b64
from lab.live_files import whole_records
from lab.mesh import PAYMENTS, TRAVEL, Mesh

CHECK = "/envoy.service.auth.v3.Authorization/Check"
READ = "balance:read"
COOLDOWN_SECONDS = 1.0
FETCH_SECONDS = 0.3  # what each answer of the issuer takes: long enough to see who waits for it
SLACK_SECONDS = 0.1  # between what is noted here and what happened there, if nobody is busy
ENVOY_SECONDS = 1.0  # how long Envoy waits for a decision
SENDERS = 12
_UNATTENDED: Final = ("too many checks are waiting", "no time is left before the caller's deadline")


@dataclass
class Storm:
    """The parameters of a storm; times in seconds, rates a second."""

    seconds: float = 120.0
    rate: int = 200
    rotate_every: float = 5.0
    away_of: tuple[float, float] = (10.0, 30.0)
    made_up_rate: int = 1000


@dataclass(frozen=True)
class Sent:
    """A request: when it was sent, how long it took, the token's key, and the response."""

    at: float
    seconds: float
    key_id: str
    status: int
    reason: str
    body: str = ""


@dataclass
class Record:
    """The events of a storm. Times are monotonic seconds."""

    published: dict[str, float] = field(default_factory=dict)
    removed: dict[str, float] = field(default_factory=dict)
    away: list[tuple[float, float]] = field(default_factory=list)
    fetches: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    unattended: list[str] = field(default_factory=list)  # ids of decisions: the processor was busy
    made_up: int = 0

    def wrongly_refused(self) -> list[Sent]:
        """Return the refusals of tokens whose key could have been fetched by then."""
        return [
            request for request in self.sent if request.status != 200 and not self._excused(request)
        ]

    def _excused(self, request: Sent) -> bool:
        """Tell whether a refused token's key could not be known, by the certain order of events.

        A key is noted after it is published and before it is taken away, the issuer's absence
        before it begins and after it is over, and a fetch after the server began it.
        """
        ended = request.at + request.seconds
        if request.seconds > 0.9 * ENVOY_SECONDS:  # a busy machine: the fetch outlasted the caller
            return True
        if any(decision_id in request.body for decision_id in self.unattended):
            return True
        if request.reason != "token_key_unknown":
            return False
        for begun, over in self.away:  # away, or back for less than a cooldown
            if begun <= ended and request.at <= over + COOLDOWN_SECONDS + SLACK_SECONDS:
                return True
        if self.removed.get(request.key_id, ended) < ended:
            return True
        # So soon after a fetch that began before the key was there, none may begin.
        published = self.published[request.key_id]
        return any(
            begun < published and begun < ended and request.at < begun + COOLDOWN_SECONDS
            for begun in self.fetches
        )

    def too_frequent(self) -> list[float]:
        """Return the times in which three fetches began, if shorter than the cooldown.

        Two may come together: a scheduled fetch, and a fetch for an unknown key.
        """
        gaps = [b - a for a, b in zip(self.fetches, self.fetches[2:], strict=False)]
        return [gap for gap in gaps if gap < COOLDOWN_SECONDS - SLACK_SECONDS]

    def known_key(self) -> list[Sent]:
        """Return the requests whose key a fetch had brought before they were sent."""
        return [
            request
            for request in self.sent
            if any(
                self.published[request.key_id] < begun and end < request.at
                for begun, end in self._answered()
            )
        ]

    def meanwhile(self) -> list[Sent]:
        """Return requests with a known key that were sent and answered during a fetch."""
        return [
            request
            for request in self.known_key()
            if any(
                begun < request.at and request.at + request.seconds < end
                for begun, end in self._answered()
            )
        ]

    def _answered(self) -> list[tuple[float, float]]:
        """Return the begin and the end of each fetch that was answered."""
        ends = [(begun, [end for end in self.answered if end > begun]) for begun in self.fetches]
        return [(begun, end[0]) for begun, end in ends if end]


def run(mesh: Mesh, storm: Storm) -> Record:
    """Run a storm over a mesh whose issuer's keys have a cooldown of a second."""
    record = Record()
    end = time.monotonic() + storm.seconds
    mesh.jwks.faults.delay_seconds = FETCH_SECONDS
    mesh.jwks.watch(record.fetches.append, record.answered.append)
    record.published[mesh.issuer.current.key_id] = time.monotonic() - 60
    record.fetches.append(time.monotonic() - 30)
    record.answered.append(time.monotonic())
    jobs: list[Callable[[], None]] = [
        lambda: _rotate(mesh.issuer, storm, record, end),
        lambda: _come_and_go(mesh, storm, record, end),
        lambda: _make_up(mesh, storm, record, end),
        *[lambda n=n: _send(mesh, storm, record, end, n) for n in range(SENDERS)],
    ]
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mesh.jwks.faults.delay_seconds = 0.0
    mesh.jwks.faults.drop = False
    record.unattended = [one for server in mesh.servers for one in _unattended(server.audit)]
    return record


def _unattended(audit: Path) -> Iterator[str]:
    """Yield the ids of refusals for lack of a processor, and not of a place to wait for keys."""
    for told in whole_records(audit):
        if told.get("reason") == "overloaded" and told.get("detail") in _UNATTENDED:
            yield told["decision_id"]


def _rotate(issuer: Issuer, storm: Storm, record: Record, end: float) -> None:
    while time.monotonic() + storm.rotate_every < end:
        time.sleep(storm.rotate_every)
        before_last = list(issuer.keys)[:-1]
        record.published[issuer.rotate().key_id] = time.monotonic()
        for key_id in before_last:
            record.removed[key_id] = time.monotonic()
            issuer.keys.pop(key_id)


def _come_and_go(mesh: Mesh, storm: Storm, record: Record, end: float) -> None:
    away_seconds, period = storm.away_of
    while time.monotonic() + period <= end + SLACK_SECONDS:
        time.sleep(period - away_seconds)
        begun = time.monotonic()
        mesh.jwks.faults.drop = True
        time.sleep(min(away_seconds, end - begun))
        mesh.jwks.faults.drop = False
        record.away.append((begun, time.monotonic()))


def _make_up(mesh: Mesh, storm: Storm, record: Record, end: float) -> None:
    """Send tokens of another agent with unknown key IDs straight to the server's socket."""
    token = mesh.issuer.token(PAYMENTS, scope=READ, header={"kid": "made-up-0000000"})
    rest = token.partition(".")[2]
    message = pb.CheckRequest()
    message.attributes.source.principal = PAYMENTS
    message.attributes.source.certificate = mesh.authority.issue(PAYMENTS).url_encoded
    http = message.attributes.request.http
    http.method, http.path, http.host = "GET", "/finance/balance", "mcp.corp.example"
    begun = time.monotonic()
    with grpc.insecure_channel(f"unix:{mesh.servers[0].socket}") as channel:
        check = channel.unary_unary(CHECK, pb.CheckRequest.SerializeToString, lambda data: data)
        while time.monotonic() < end and storm.made_up_rate:
            header = _header(mesh.issuer, record.made_up)
            http.headers["authorization"] = f"Bearer {header}.{rest}"
            check.future(message, timeout=2)
            record.made_up += 1
            ahead = begun + record.made_up / storm.made_up_rate - time.monotonic()
            if ahead > 0.002:
                time.sleep(ahead)


def _header(issuer: Issuer, number: int) -> str:
    """Return the header part of a token with a new made-up kid."""
    members = {"alg": issuer.current.algorithm, "kid": f"made-up-{number:07}", "typ": "at+jwt"}
    return b64(json.dumps(members).encode())


def _send(mesh: Mesh, storm: Storm, record: Record, end: float, number: int) -> None:
    """Send a share of the requests, each with a token of its own, on a single connection."""
    svid = mesh.authority.issue(TRAVEL)
    interval = SENDERS / storm.rate
    due = time.monotonic() + interval * number / SENDERS
    with httpx.Client(
        base_url=f"https://localhost:{mesh.envoy.port}",
        verify=tls_context(mesh.authority.path, svid),
        headers={"host": "mcp.corp.example"},
        timeout=60,
    ) as client:
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            due += interval
            key = mesh.issuer.current
            token = mesh.issuer.token(TRAVEL, scope=READ, key=key)
            at = time.monotonic()
            reply = client.get("/finance/balance", headers={"authorization": f"Bearer {token}"})
            seconds = time.monotonic() - at
            reason = reply.headers.get("x-authz-reason", "")
            body = "" if reply.is_success else reply.text
            record.sent.append(Sent(at, seconds, key.key_id, reply.status_code, reason, body))


def report(record: Record) -> list[str]:
    """Return the figures as lines for a person."""
    known = sorted(request.seconds for request in record.known_key())
    refused = [request for request in record.sent if request.status != 200]
    away = sum(over - begun for begun, over in record.away)
    wrongly = len(record.wrongly_refused())
    ms = [1e3 * seconds for seconds in known]
    return [
        f"requests {len(record.sent)}, keys published {len(record.published)}",
        f"issuer away {away:.0f} s, made-up key ids {record.made_up}",
        f"refused while the key could not be fetched: {len(refused) - wrongly}",
        f"refused although it could: {wrongly}",
        f"fetches {len(record.fetches)}, three within a cooldown {len(record.too_frequent())}",
        f"requests whose key was known before: {len(known)}, median {statistics.median(ms):.1f} ms",
        f"99 % of them within {ms[int(len(ms) * 0.99)]:.1f} ms, longest {ms[-1]:.1f} ms",
    ]


def main() -> int:
    """Run a storm and print the figures; return 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--made-up", type=int, default=1000, help="made-up key ids a second")
    options = parser.parse_args()
    storm = Storm(options.seconds, options.rate, made_up_rate=options.made_up)
    with tempfile.TemporaryDirectory() as folder, Mesh(Path(folder)) as mesh:
        print(f"storming for {storm.seconds:.0f} s ...", flush=True)
        record = run(mesh, storm)
    print("\n".join(report(record)))
    return 1 if record.wrongly_refused() or record.too_frequent() else 0


if __name__ == "__main__":
    sys.exit(main())
