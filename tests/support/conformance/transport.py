"""What every transport must do: bytes of a check in, bytes of its answer out, over gRPC's protocol.

It knows addresses and HTTP/2 only, and nothing of the server behind them.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import grpc
import pytest

from support.frames import CHECK, Hostile, connected, framed
from support.world import PATIENCE_SECONDS

LARGEST: Final = 4 * 1024 * 1024  # bytes of a message that has to be taken: Envoy's, with a body
Remaining = Callable[[], float | None]


@dataclass
class Answerer:
    """Who answers: tells the length of what came, and what the transport said of the call.

    A message ``known`` is answered at once, and all others in the second step. There a message
    ``hold`` takes a wait, and is answered no sooner than ``go``; for ``fail`` an exception is
    raised.
    """

    go: threading.Event = field(default_factory=threading.Event)
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: list[bytes] = field(default_factory=list)
    remaining: list[float | None] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)

    def begin(self, data: bytes, proxy: str = "", /) -> "bytes | Asked":
        """Note the message, and answer if it is known."""
        self.asked.append(data[:100])
        self.callers.append(proxy)
        return answer_to(data) if data == b"known" else Asked(self, data)


@dataclass
class Asked:
    """A message that is answered in the second step."""

    answerer: Answerer
    data: bytes

    def decide(self, time_remaining: Remaining, *, may_wait: bool) -> bytes | None:
        """Answer, None where that takes a wait and it may not."""
        if self.data == b"hold" and not may_wait:
            return None
        self.answerer.remaining.append(time_remaining())
        if self.data == b"hold":
            self.answerer.held.release()
            self.answerer.go.wait(PATIENCE_SECONDS)
        if self.data == b"fail":
            raise RuntimeError("secret")
        return answer_to(self.data)


def answer_to(data: bytes) -> bytes:
    """Return the answer to a message."""
    return b"%d %b" % (len(data), data[:100])


class Endpoint(Protocol):
    """A transport that listens, as its clients see it."""

    @property
    def address(self) -> str:
        """Return where: unix:/path, or host:port."""

    def stop(self, grace_seconds: float) -> None:
        """Take no new calls, and wait so long for those under way."""


class TransportConformance(ABC):
    """The clauses. Callers are those who may ask.

    Not guaranteed: an order between calls, also of one connection; that a call is decided whose
    client has left; that a connection lasts. How many calls may be under way, and when one that is
    half open or unread ends, is the transport's own: that they harm nobody is not.
    """

    caller = ""  # how the transport names the caller

    @abstractmethod
    def serving(self, folder: Path, answerer: Answerer) -> AbstractContextManager[Endpoint]:
        """Return a transport that listens, stopped at the end."""

    def channel(self, endpoint: Endpoint) -> grpc.Channel:
        """Return a real client's connection, of one who may ask."""
        return grpc.insecure_channel(endpoint.address)

    def raw(self, endpoint: Endpoint, window: int = 65_535) -> Hostile:
        """Return a connection of one who may ask, and writes frames."""
        return Hostile(connected(endpoint.address), window)

    @pytest.fixture
    def answerer(self) -> Iterator[Answerer]:
        """Who answers."""
        answerer = Answerer()
        yield answerer
        answerer.go.set()

    @pytest.fixture
    def endpoint(self, tmp_path: Path, answerer: Answerer) -> Iterator[Endpoint]:
        """A transport that listens."""
        with self.serving(tmp_path, answerer) as endpoint:
            yield endpoint

    @contextmanager
    def client(self, endpoint: Endpoint) -> Iterator[Callable[..., bytes]]:
        """Open a connection and give its check."""
        with self.channel(endpoint) as channel:
            yield channel.unary_unary(CHECK, bytes, bytes)

    def assert_answers(self, endpoint: Endpoint) -> None:
        """Somebody else is answered, on a connection of their own."""
        with self.client(endpoint) as check:
            assert check(b"other", timeout=PATIENCE_SECONDS) == answer_to(b"other")

    def test_a_check(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """The bytes reach who answers as they are, and his come back; an empty message is one."""
        messages = [b"a", b"", b"known", bytes(range(256)), b"x" * 100_000]
        with self.client(endpoint) as check:
            for message in messages:
                assert check(message, timeout=PATIENCE_SECONDS) == answer_to(message)

        assert answerer.asked == [message[:100] for message in messages]

    def test_each_its_own_answer(self, endpoint: Endpoint) -> None:
        """Of many calls at once, on one connection and on many, each gets its own answer."""

        def ask_many(number: int) -> bool:
            with self.client(endpoint) as check:
                asked = [b"%d-%d" % (number, n) for n in range(50)]
                pending = [check.future(one, timeout=PATIENCE_SECONDS) for one in asked]  # type: ignore[attr-defined]
                return [one.result() for one in pending] == [answer_to(one) for one in asked]

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(ask_many, range(4)))

    def test_the_deadline_reaches_who_answers(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """He is told what is left of the client's time: where it has no end, None or years."""
        with self.client(endpoint) as check:
            check(b"a", timeout=PATIENCE_SECONDS)
            check(b"b")

        given, endless = answerer.remaining
        assert given is not None
        assert 0 < given < PATIENCE_SECONDS + 1  # two clocks
        assert endless is None or endless > 365 * 86_400

    def test_a_deadline_that_passes(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """The client is free at its deadline, and others are answered meanwhile."""
        with self.client(endpoint) as check:
            with pytest.raises(grpc.RpcError) as late:
                check(b"hold", timeout=0.3)
            self.assert_answers(endpoint)

        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        answerer.go.set()

    def test_the_largest_message(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """What a proxy may send is taken; more is refused, unread, and the next call answered."""
        with self.client(endpoint) as check:
            assert check(b"x" * (LARGEST - 100), timeout=PATIENCE_SECONDS)
            with pytest.raises(grpc.RpcError) as large:
                check(b"y" * (LARGEST + 100), timeout=PATIENCE_SECONDS)
            assert check(b"z", timeout=PATIENCE_SECONDS)

        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not any(one.startswith(b"y") for one in answerer.asked)

    def test_a_method_that_is_not_there(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """It is UNIMPLEMENTED, and reaches nobody."""
        with self.channel(endpoint) as channel:
            for path in ("/no/method", f"{CHECK}2", CHECK.lower()):
                with pytest.raises(grpc.RpcError) as missing:
                    channel.unary_unary(path, bytes, bytes)(b"a", timeout=PATIENCE_SECONDS)
                assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED

        assert answerer.asked == []

    def test_an_answer_that_fails(self, endpoint: Endpoint) -> None:
        """An exception is an error of the call without its words, and no answer; others go on."""
        with self.client(endpoint) as check:
            with pytest.raises(grpc.RpcError) as failed:
                check(b"fail", timeout=PATIENCE_SECONDS)
            assert check(b"a", timeout=PATIENCE_SECONDS)

        assert failed.value.code() is not grpc.StatusCode.OK

    def test_who_asks(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """Who answers is told the caller's name where the connection proves one, else "" ."""
        self.assert_answers(endpoint)

        assert answerer.callers == [self.caller]

    def test_a_message_in_pieces(self, endpoint: Endpoint) -> None:
        """A slow client that is honest is answered."""
        message = b"slow" * 200
        with self.raw(endpoint) as client:
            whole = framed(message)
            stream = client.open()
            for at in range(0, len(whole), 100):
                client.flush()
                client.send(stream, whole[at : at + 100], ends=at + 100 >= len(whole))
            client.flush()

            assert client.ends(stream) == "0"
            assert client.messages[stream][5:] == answer_to(message)

    def test_half_open_calls(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """Calls whose messages do not come hold up nobody, and are answered nothing."""
        with self.raw(endpoint) as client:
            for number in range(100):
                stream = client.open()
                if part := (b"", b"\0", framed(b"x" * 100, 1_000_000))[number % 3]:
                    client.send(stream, part, ends=False)
            client.flush()

            self.assert_answers(endpoint)
        assert answerer.asked == [b"other"]

    def test_unread_answers(self, endpoint: Endpoint) -> None:
        """Answers that their client gives no window for hold up nobody."""
        with self.raw(endpoint, window=0) as client:
            for _ in range(100):
                client.call(b"a")

            self.assert_answers(endpoint)
            assert not client.messages

    def test_calls_that_are_given_up(self, endpoint: Endpoint) -> None:
        """A client that gives calls up, or hangs up in the middle of one, harms nobody."""
        with self.raw(endpoint) as client:
            for _ in range(100):
                client.reset(client.call(b"a"))
                client.reset(client.open())
            client.open()
            client.flush()

        self.assert_answers(endpoint)

    def test_bytes_that_are_no_http(self, endpoint: Endpoint) -> None:
        """Who speaks another protocol, or nothing, harms nobody."""
        idle = connected(endpoint.address)
        with connected(endpoint.address) as other:
            other.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 1000)
            self.assert_answers(endpoint)
        idle.close()

    def test_a_stop_lets_calls_end(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """A call under way at a stop is answered within the grace; afterwards nobody is."""
        with self.client(endpoint) as check, ThreadPoolExecutor(2) as pool:
            asked: Future[bytes] = pool.submit(check, b"hold", timeout=PATIENCE_SECONDS)
            answerer.held.acquire()
            stopped = pool.submit(endpoint.stop, PATIENCE_SECONDS)
            answerer.go.set()

            assert asked.result(PATIENCE_SECONDS) == answer_to(b"hold")
            stopped.result(PATIENCE_SECONDS)
        with self.client(endpoint) as check, pytest.raises(grpc.RpcError):
            check(b"a", timeout=1)

    def test_a_stop_ends_in_its_time(self, endpoint: Endpoint, answerer: Answerer) -> None:
        """A call that goes on for longer than the grace is cut off, and the stop returns."""
        with self.client(endpoint) as check, ThreadPoolExecutor(2) as pool:
            asked: Future[bytes] = pool.submit(check, b"hold", timeout=PATIENCE_SECONDS)
            answerer.held.acquire()
            endpoint.stop(0.2)

            with pytest.raises(grpc.RpcError):
                asked.result(PATIENCE_SECONDS)
            answerer.go.set()
