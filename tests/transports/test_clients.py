"""Clients that people use are answered alike, on each transport and at each kind of address."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.edge.methods import AUTHORIZATION, Methods, methods_of
from authz.edge.settings import ServerSettings, TransportKind
from authz.transports.opening import open_transport
from authz.transports.transport import TransportParts
from support import clients, ports
from support.clients import Call, Client, Files, Outcome, Place
from support.conformance.transport import Answerer, answer_to
from support.frames import CHECK, framed
from support.ports import WAYPOINT, Port, listening
from support.world import PATIENCE_SECONDS, check_request, reason_of

OK, CANCELLED, DEADLINE_EXCEEDED, EXHAUSTED, UNIMPLEMENTED = 0, 1, 4, 8, 12
MIB = 1 << 20
KINDS = ["unix", "tcp", "tls"]

pytestmark = pytest.mark.timeout(200)  # a cold Go compiler takes half a minute


@contextmanager
def places(folder: Path, methods: Methods | None = None) -> Iterator[tuple[Port, dict[str, Place]]]:
    """Serve at an address of each kind."""
    with ExitStack() as stack:
        port = stack.enter_context(listening(folder, methods=methods))
        world = port.world
        served = methods or methods_of(world.service)
        settings = ServerSettings(listen=("127.0.0.1:0",), transport=ports.transport_kind)
        parts = TransportParts(settings, served, None, world.metrics, world.parts.pool)
        plain = open_transport(parts)
        plain.start()
        stack.callback(plain.stop, 0)
        svid = world.authority.issue(WAYPOINT)
        ca = world.authority.path.read_bytes()
        files = Files.write(folder, ca, svid.certificate_pem, svid.key_pem)
        tls, unix = port.transport.addresses
        yield (
            port,
            {"unix": Place(unix), "tcp": Place(plain.addresses[0]), "tls": Place(tls, files)},
        )


def checks(port: Port) -> dict[str, Call]:
    """Return calls for the same thing that are answered in every way."""
    bearer = [("authorization", f"Bearer {port.world.token()}")]
    good = check_request(port.world.svid, bearer)
    large = check_request(port.world.svid, bearer)
    large.attributes.request.http.raw_body = b"x" * (3 * MIB)
    too_large = check_request(port.world.svid, bearer)
    too_large.attributes.request.http.raw_body = b"x" * (5 * MIB)
    message = good.SerializeToString()
    return {
        "allow": Call(CHECK, message),
        "deny": Call(CHECK, check_request(port.world.svid, []).SerializeToString()),
        "metadata": Call(CHECK, message, {"x-request-id": "a", "traceparent": "b" * 3000}),
        "large": Call(CHECK, large.SerializeToString()),
        "no such method": Call(f"{CHECK}2", message),
        "no such service": Call("/a.B/Check", message),
        "too large": Call(CHECK, too_large.SerializeToString()),
        "again": Call(CHECK, message),
    }


def told(outcome: Outcome) -> str | int:
    """Return the decision of an answer, or gRPC's code."""
    if outcome.code:
        return outcome.code
    return reason_of(pb.CheckResponse.FromString(outcome.message))


EXPECTED: dict[str, str | int] = {
    "allow": "allow",
    "deny": "token_missing",
    "metadata": "allow",
    "large": "allow",
    "no such method": UNIMPLEMENTED,
    "no such service": UNIMPLEMENTED,
    "too large": EXHAUSTED,
    "again": "allow",
}
CLIENTS: dict[str, Client] = {
    "grpcio": clients.grpcio,
    "grpc-go": clients.grpc_go,
    "httpx": clients.by_httpx,
    "nghttp": clients.nghttp,
}


@pytest.mark.usefixtures("each_transport")
@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_is_told_the_same(name: str, tmp_path: Path) -> None:
    """Decisions and errors are the same for each client, on each transport, at each address."""
    with places(tmp_path) as (port, at):
        calls = checks(port)
        if name == "httpx":  # it takes no answer that comes before it has sent all
            del calls["too large"]
        for kind in KINDS:
            if (name, kind) != ("nghttp", "unix"):
                outcomes = CLIENTS[name](at[kind], [*calls.values()])
                found = dict(zip(calls, map(told, outcomes), strict=True))
                assert found == {call: EXPECTED[call] for call in calls}, kind


@pytest.mark.parametrize("name", CLIENTS)
def test_compressed_messages_are_refused(
    name: str, tmp_path: Path, each_transport: TransportKind
) -> None:
    """A client that compresses is told to leave it by the native transport; grpcio's takes it."""
    is_native = each_transport is TransportKind.NATIVE
    with places(tmp_path) as (port, at):
        plain = checks(port)["allow"]
        calls = [replace(plain, is_gzipped=True), plain]
        found = [told(outcome) for outcome in CLIENTS[name](at["tcp"], calls)]
        assert found == [UNIMPLEMENTED if is_native else "allow", "allow"]


@pytest.fixture
def native(tmp_path: Path) -> Iterator[tuple[Answerer, dict[str, Place]]]:
    """Serve by the native transport; give who answers, and where."""
    answerer = Answerer()
    with places(tmp_path, {AUTHORIZATION: {"Check": answerer}}) as (_, at):
        yield answerer, at
        answerer.go.set()


Native = tuple[Answerer, dict[str, Place]]


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_messages_are_told_what_is_taken(native: Native, kind: str) -> None:
    """The refusal says which encoding would do, in headers that both other clients read."""
    call = Call(CHECK, b"a", is_gzipped=True)
    _, at = native
    with clients.httpx_client(at[kind]) as client:
        headers = clients.posted(client, call).headers
    assert (headers["grpc-status"], headers["grpc-accept-encoding"]) == ("12", "identity")
    assert headers["content-type"] == "application/grpc"


@pytest.mark.parametrize("kind", KINDS)
def test_requests_that_are_no_calls(native: Native, kind: str) -> None:
    """A GET is answered with 405 and a POST of something else with 415, with words for people."""
    answerer, at = native
    with clients.httpx_client(at[kind]) as client:
        got, posted, other = (
            client.get(CHECK),
            client.post(CHECK, json={}),
            client.delete("/"),
        )
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert (posted.status_code, other.status_code) == (415, 405)
    assert "gRPC" in got.text
    assert "application/grpc" in posted.text
    assert answerer.asked == []


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_requests_that_are_no_calls_by_nghttp(native: Native, kind: str) -> None:
    """The same statuses are read by libnghttp2."""
    _, at = native
    (got,) = clients.nghttp_headers(at[kind], CHECK, b"")
    (posted,) = clients.nghttp_headers(at[kind], CHECK, b"{}", "--header=content-type: text/plain")
    assert (got[":status"], got["allow"], posted[":status"]) == ("405", "POST", "415")


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_many_calls_at_once_by_nghttp(native: Native, kind: str) -> None:
    """A hundred calls on one connection, of 20 KB each, all get their answers."""
    _, at = native
    answers = clients.nghttp_posts(at[kind], Call(CHECK, b"x" * 20_000), 100)
    assert answers == framed(answer_to(b"x" * 20_000)) * 100


def varied(count: int) -> list[Call]:
    """Return calls whose metadata differ, so that tables of fields fill and are replaced."""
    return [
        Call(CHECK, b"%d" % n, {"x-request-id": str(n), f"x-{n % 70}": "v" * (n * 37 % 900)})
        for n in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_threads_of_grpcio(native: Native, kind: str) -> None:
    """Threads that share a connection get their own answers, whatever metadata they send."""
    _, at = native
    calls = varied(300)
    with clients.grpcio_channel(at[kind]) as channel, ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(partial(clients.by_grpcio, channel), calls))
    assert outcomes == [Outcome(OK, answer_to(call.message)) for call in calls]


@pytest.mark.parametrize("kind", KINDS)
def test_goroutines_of_grpc_go(native: Native, kind: str) -> None:
    """The same for grpc-go, which also measures its bandwidth with PINGs and changes windows."""
    _, at = native
    calls = varied(600)
    calls += [Call(CHECK, b"%d" % n * 50_000) for n in range(20)]
    outcomes = clients.grpc_go(at[kind], calls, threads=16)
    assert outcomes == [Outcome(OK, answer_to(call.message)) for call in calls]


@pytest.mark.parametrize("kind", KINDS)
def test_deadlines_and_cancelled_calls_of_grpc_go(native: Native, kind: str) -> None:
    """A call that is late, or given up, ends for its client, and others go on."""
    answerer, at = native
    calls = [
        Call(CHECK, b"hold", timeout=0.2),
        Call(CHECK, b"hold", cancelled_after=0.2),
        Call(CHECK, b"a"),
        Call(CHECK, b"known"),
    ]
    outcomes = clients.grpc_go(at[kind], calls, threads=2)
    assert [outcome.code for outcome in outcomes] == [DEADLINE_EXCEEDED, CANCELLED, OK, OK]
    assert all(0 < left <= PATIENCE_SECONDS + 1 for left in answerer.remaining if left is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_cancelled_calls_of_grpcio(native: Native, kind: str) -> None:
    """A call that is cancelled while it is decided ends at once, and the connection goes on."""
    answerer, at = native
    with clients.grpcio_channel(at[kind]) as channel:
        held: Any = channel.unary_unary(CHECK, bytes, bytes).future(b"hold", PATIENCE_SECONDS)
        answerer.held.acquire()
        held.cancel()
        assert clients.by_grpcio(channel, Call(CHECK, b"a")) == Outcome(OK, answer_to(b"a"))
    assert held.code() is grpc.StatusCode.CANCELLED
