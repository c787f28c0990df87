"""The fuzzer's targets, for a short while; and that they would notice a wrong decision."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from authz.core.jose import Key
from authz.core.jose.jwk import parse_key_set
from authz.core.protocols import Message, MessageInput, read
from authz.core.request import MessageProtocol
from fuzz.targets import TARGETS, XFCC_PROFILE, Lab, WrongError
from support.world import World

SHORT = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The core that targets ask."""
    with World(tmp_path_factory.mktemp("fuzz"), XFCC_PROFILE) as world:
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

    @settings(
        max_examples=500,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        TARGETS[name](lab, data.draw)

    examples()


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("key_sets", "messages")])
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
