"""Polling a transmitter (RFC 8936), which keeps an event until it is acknowledged."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.adapters.signals.poller import MIN_PAUSE_SECONDS
from authz.adapters.signals.status import SignalResult
from lab.mesh import ISSUER
from support.receiving import Receiving
from support.transmitter import CAEP, SSF, Polled
from support.world import wait_until

SESSION_REVOKED = f"{CAEP}session-revoked"


@pytest.fixture(scope="module")
def polled() -> Iterator[Polled]:
    """A transmitter that is polled."""
    server = Polled()
    yield server
    server.close()


@pytest.fixture(scope="module")
def receiving(tmp_path_factory: pytest.TempPathFactory, polled: Polled) -> Iterator[Receiving]:
    """A world that polls it."""
    poll = {"url": polled.url, "insecure": True, "interval": "100ms"}
    with Receiving(tmp_path_factory.mktemp("polled"), poll) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_revoked(receiving: Receiving, polled: Polled) -> None:
    """Each test begins without revocations, and with an endpoint that works."""
    polled.kept.clear()
    polled.errors.clear()
    polled.status, polled.body = 200, None
    receiving.file.write_bytes(b"")


def test_events_are_taken_and_acknowledged(receiving: Receiving, polled: Polled) -> None:
    """More events than an answer may have are taken, written, and acknowledged."""
    make = receiving.transmitter.event
    for number in range(20):
        subject = {"format": "opaque", "id": f"user-{number}"}
        polled.kept[f"j{number}"] = make(f"{CAEP}credential-change", subject, jti=f"j{number}")
    polled.kept["v"] = make(f"{SSF}verification", {"format": "opaque", "id": "s"}, jti="v")

    wait_until(lambda: not polled.kept)
    assert len(receiving.entries()) == 20
    assert polled.errors == {}
    assert all(asked["maxEvents"] == 16 for asked in polled.requests)
    assert all(asked["returnImmediately"] for asked in polled.requests)


def test_a_token_is_refused(receiving: Receiving, polled: Polled) -> None:
    """A polled session-revoked revokes."""
    token = receiving.world.token()
    polled.kept["r"] = receiving.transmitter.event(SESSION_REVOKED, jti="r")

    receiving.wait_until_refused(token)


def test_what_is_refused_is_told(receiving: Receiving, polled: Polled) -> None:
    """Invalid events, and those under another id, are told of in setErrs; the others are taken."""
    make = receiving.transmitter.event
    polled.kept["bad"] = make(SESSION_REVOKED, jti="bad", aud="x")
    polled.kept["moved"] = make(SESSION_REVOKED, jti="other")
    polled.kept["good"] = make(SESSION_REVOKED, jti="good")

    wait_until(lambda: not polled.kept)
    assert {jti: why["err"] for jti, why in polled.errors.items()} == {
        "bad": "invalid_audience",
        "moved": "invalid_request",
    }
    assert len(receiving.entries()) == 1


def test_not_written_not_acknowledged(receiving: Receiving, polled: Polled) -> None:
    """While the entry can't be written the event stays with the transmitter."""
    receiving.file.write_bytes(b"not an entry\n")
    before = receiving.count("other", SignalResult.FAILED)
    polled.kept["w"] = receiving.transmitter.event(SESSION_REVOKED, jti="w")
    wait_until(lambda: receiving.count("other", SignalResult.FAILED) > before)
    assert "w" in polled.kept

    receiving.file.write_bytes(b"")
    wait_until(lambda: not polled.kept)
    assert len(receiving.entries()) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, None),
        (200, b"no JSON"),
        (200, b'{"sets":[]}'),
        (200, b'{"sets":{"a":1}}'),
        (200, json.dumps({"sets": {str(n): "x" for n in range(17)}}).encode()),
        (200, b'{"sets":{"big":"' + b"x" * 1_300_000 + b'"}}'),
    ],
)
def test_a_faulty_endpoint(
    receiving: Receiving, polled: Polled, status: int, body: bytes | None
) -> None:
    """An endpoint that fails is asked again, later; nothing is written meanwhile."""
    before = receiving.signals.status().polls.get((ISSUER, False), 0)
    polled.status, polled.body = status, body
    wait_until(lambda: receiving.signals.status().polls.get((ISSUER, False), 0) > before)
    assert receiving.entries() == []

    polled.status, polled.body = 200, None
    polled.kept["a"] = receiving.transmitter.event(SESSION_REVOKED, jti=f"a-{time.time_ns()}")
    polled.kept[f"b-{status}"] = receiving.transmitter.event(SESSION_REVOKED, jti=f"b-{status}")
    wait_until(lambda: not polled.kept)


def test_an_event_of_an_unknown_key_keeps_nothing_back(
    receiving: Receiving, polled: Polled
) -> None:
    """It has to come again, as its key may be new; those behind it are taken."""
    make = receiving.transmitter.event
    polled.kept["new"] = make(SESSION_REVOKED, jti="new", header={"kid": "new"})
    polled.kept["behind"] = make(SESSION_REVOKED, jti="behind")
    wait_until(lambda: [*polled.kept] == ["new"])

    assert polled.errors == {}
    assert len(receiving.entries()) == 1


def test_an_endless_stream(receiving: Receiving, polled: Polled) -> None:
    """A transmitter that always says there is more, and repeats itself, is asked at a pace."""
    text = receiving.transmitter.event(SESSION_REVOKED, jti="e")
    polled.body = json.dumps({"sets": {"e": text}, "moreAvailable": True}).encode()
    asked, begun = len(polled.requests), time.monotonic()
    wait_until(lambda: len(polled.requests) >= asked + 5)

    assert time.monotonic() - begun >= 3 * MIN_PAUSE_SECONDS
    assert len(receiving.entries()) == 1


def test_long_polling(tmp_path: Path) -> None:
    """With hold, the transmitter may keep the request open until it has an event."""
    transmitter = Polled()
    poll = {"url": transmitter.url, "insecure": True, "hold": "1s"}
    try:
        with Receiving(tmp_path, poll) as made:
            transmitter.kept["l"] = made.transmitter.event(SESSION_REVOKED, jti="l")
            wait_until(lambda: not transmitter.kept)
            assert not any(asked["returnImmediately"] for asked in transmitter.requests)
    finally:
        transmitter.close()
