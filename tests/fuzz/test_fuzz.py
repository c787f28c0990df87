"""The fuzzer's targets, for a short while; and that they would notice a wrong decision."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.jose.jwk import Key, parse_key_set
from authz.core.protocols.message import Message, MessageInput
from authz.core.protocols.reading import read
from authz.core.request import MessageProtocol
from authz.edge.answered import DecodedCheck
from authz.edge.envoy.known_messages import CheckReader
from authz.transports.http2 import ServerConnection
from authz.transports.http2.hpack import Field, HeaderDecoder
from fuzz import http2 as fuzz_http2
from fuzz.breaking import until_found
from fuzz.targets import CHANGES, TARGETS, Lab, WrongError
from support.judged import Judged
from support.world import World

pytestmark = pytest.mark.drawn
SHORT = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The core that targets ask."""
    with World(tmp_path_factory.mktemp("fuzz"), CHANGES) as world:
        yield Lab.of(world)


@pytest.mark.parametrize("name", TARGETS)
def test_target(fuzzed: Lab, name: str) -> None:
    """A decision, never an exception, never an allow that the reference says no to."""
    answers: Counter[str] = Counter()

    @SHORT
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        answers[TARGETS[name](fuzzed, data.draw)] += 1

    examples()
    assert len(answers) >= 2, answers  # it sees good ones and bad ones


def breaks(lab: Lab, name: str) -> None:
    """Run a target until it finds something. Raises WrongError when it does."""
    until_found(lambda draw: TARGETS[name](lab, draw))


OF_DECISIONS = (
    "check_bytes",
    "tokens",
    "answers",
    "certificates",
    "paths",
    "accepted_paths",
    "hosts",
    "xfcc",
)


@pytest.mark.parametrize("name", OF_DECISIONS)
@pytest.mark.parametrize("answer", ["allow", "internal_error"])
def test_a_wrong_decision_is_noticed(fuzzed: Lab, name: str, answer: str) -> None:
    """A server that allows everything, or fails, is caught by every target."""
    with pytest.raises(WrongError):
        breaks(replace(fuzzed, decide=lambda _: answer), name)


def test_a_wrong_key_is_noticed(fuzzed: Lab) -> None:
    """A parser that gives a key more algorithms than the issuer may use is caught."""

    def wrong(document: bytes, _: frozenset[str]) -> tuple[Mapping[str, Key], Any]:
        keys, refused = parse_key_set(document, frozenset({"ES256"}))
        return {k: widened(key) for k, key in keys.items()}, refused

    def widened(key: Key) -> Key:
        return replace(key, algorithms=key.algorithms | {"RS256"})

    with pytest.raises(WrongError):
        breaks(replace(fuzzed, parse_keys=wrong), "key_sets")


def test_a_wrong_reading_is_noticed(fuzzed: Lab) -> None:
    """A reader that keeps the last of two members, as most JSON libraries do, is caught."""

    def lax(protocol: MessageProtocol, sent: MessageInput) -> Message:
        if sent.headers["content-length"] != str(len(sent.body)):
            return read(protocol, sent)
        try:
            body = json.dumps(json.loads(sent.body)).encode()
        except (ValueError, RecursionError):
            return read(protocol, sent)
        headers = {**sent.headers, "content-length": str(len(body))}
        return read(
            protocol, msgspec.structs.replace(sent, headers=headers, body=body, size=len(body))
        )

    with pytest.raises(WrongError):
        breaks(replace(fuzzed, read=lax), "messages")


class Trusting(CheckReader):
    """Believes that a message is what the last one was."""

    last: DecodedCheck | None = None

    def read(self, data: bytes, proxy: str) -> DecodedCheck:
        """Return what was read first, with the ids of this message."""
        check = super().read(data, proxy)
        self.last = self.last or check
        return msgspec.structs.replace(check, request=self.last.request)


def test_a_message_that_is_wrongly_known_is_noticed(fuzzed: Lab) -> None:
    """A reader that gives a message the request of an earlier one is caught."""
    with pytest.raises(WrongError):
        breaks(replace(fuzzed, reader=Trusting), "known_messages")


class Crossing(ServerConnection[bytes]):
    """Gives the second of two answers that are under way the content of the first."""

    first = b""

    def respond(self, stream_id: int, head: bytes, body: bytes, trailers: bytes) -> None:
        """Answer with what was meant for another."""
        body, self.first = self.first or body, body
        super().respond(stream_id, head, body, trailers)


class Repeating(ServerConnection[bytes]):
    """Hands on each request twice."""

    def receive(self, data: bytes, now: float) -> list[Any]:
        """Return each event twice."""
        return [event for event in super().receive(data, now) for _ in range(2)]


class Hasty(ServerConnection[bytes]):
    """Writes answers before the client's windows let it."""

    def respond(self, stream_id: int, head: bytes, body: bytes, trailers: bytes) -> None:
        """Widen the windows first."""
        self._sender._initial_window += 1 << 20
        super().respond(stream_id, head, body, trailers)


class Hoarding(ServerConnection[bytes]):
    """Holds what came for good."""

    @property
    def buffered_bytes(self) -> int:
        """Return too much."""
        return super().buffered_bytes + fuzz_http2.MAX_BYTES


class Careless(ServerConnection[bytes]):
    """Takes another way than without short cuts."""

    def __init__(self, judge: Any, *more: Any, takes_short_cuts: bool) -> None:
        """Judge all requests as the same."""
        wrong = (lambda _: b"/") if takes_short_cuts else judge
        super().__init__(wrong, *more, takes_short_cuts=takes_short_cuts)


@pytest.mark.parametrize("wrong", [Crossing, Repeating, Hasty, Hoarding, Careless])
def test_a_wrong_connection_is_noticed(fuzzed: Lab, wrong: type[ServerConnection[bytes]]) -> None:
    """Crossed and doubled messages, overrun windows, and memory that is kept are caught."""
    with pytest.raises(WrongError):
        breaks(replace(fuzzed, connection=wrong), "http2")


def test_a_wrong_field_is_noticed(fuzzed: Lab) -> None:
    """A decoder that takes a name for another is caught."""

    class Wrong(HeaderDecoder):
        def decode(self, block: bytes) -> tuple[Field, ...]:
            return tuple((name.lower(), value) for name, value in super().decode(block))

    def wrong(max_table_bytes: int) -> HeaderDecoder:
        return Wrong(max_table_bytes=max_table_bytes, max_list_bytes=1 << 20, max_fields=100)

    with pytest.raises(WrongError):
        breaks(replace(fuzzed, decoder=wrong), "hpack")


def test_a_wrong_kind_is_noticed(fuzzed: Lab) -> None:
    """Delegation by any token, and an agent for itself by an ID token, are caught."""
    for mode in ("act", "autonomous"):
        with pytest.raises(WrongError):
            breaks(replace(fuzzed, judge=lambda *_, mode=mode: Judged(mode=mode)), "token_kinds")


def test_a_wrong_name_is_noticed(fuzzed: Lab) -> None:
    """Patterns by which two names make one ID, and names that choose the domain, are caught."""

    class Lax:
        def __init__(self, value: str, template: str) -> None:
            """Take any pattern."""
            parts = re.split(r"\{([abc])\}", value)
            held = [f"(?P<{n}>.+)" if i % 2 else re.escape(n) for i, n in enumerate(parts)]
            try:
                self.value = re.compile("".join(held))
            except re.error as error:
                raise ValueError from error
            self.template = template

        def make(self, value: str) -> str | None:
            """Fill in what is there."""
            found = self.value.fullmatch(value)
            parts = found.groupdict() if found else {}
            made = re.sub(r"\{([abc])\}", lambda n: parts.get(n[1], ""), self.template)
            return made if found else None

    with pytest.raises(WrongError):
        breaks(replace(fuzzed, parse_pattern=Lax), "agent_names")
