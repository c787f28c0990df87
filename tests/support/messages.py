"""Requests with messages, as a proxy presents them, and what is read of them."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from authz.core.protocols.message import Message, MessageInput
from authz.core.protocols.reading import read
from authz.core.request import Call, MessageProtocol
from support.sent import sent

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def post(
    path: str,
    body: object,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    is_text: bool = False,
    reads: Callable[[Call], bool] = lambda _: False,
) -> MessageInput:
    """Make a request with a whole body: bytes as they are, anything else as JSON."""
    return sent(body, headers, method=method, path=path, is_text=is_text, reads_arguments=reads)


def bare(method: str, path: str, headers: Mapping[str, str] | None = None) -> MessageInput:
    """Make a request without a body."""
    return MessageInput(method=method, path=path, headers=headers or {}, body=b"")


def calls(protocol: str, request: MessageInput) -> tuple[Call, ...]:
    """Return the calls of a request that must be readable."""
    message = read(MessageProtocol(protocol), request)
    assert message.unread is None, message.unread
    return message.calls


def targets(protocol: str, request: MessageInput) -> list[tuple[str, str, str]]:
    """Return method, kind and name of each call."""
    return [(call.method, call.kind, call.name) for call in calls(protocol, request)]


def why(protocol: str, request: MessageInput) -> str:
    """Return the code of the reason why a request is unread, "" if it is read."""
    message = read(MessageProtocol(protocol), request)
    assert_one_of_both(message)
    return message.unread[0].code if message.unread else ""


def assert_one_of_both(message: Message) -> None:
    """Assert that a message has calls, or a reason for having none."""
    assert bool(message.calls) != bool(message.unread)


def respelled(draw: Callable[..., Any], value: object) -> bytes:
    """Write JSON of the same value in another form: members shuffled, blanks, escapes."""
    blank: str = draw(st.sampled_from(["", " ", "\n", "\t \r\n"]))

    def write(part: object) -> str:
        if isinstance(part, dict):
            members = draw(st.permutations(list(part.items())))
            inner = ",".join(f"{write(k)}{blank}:{blank}{write(v)}{blank}" for k, v in members)
            return f"{{{blank}{inner}}}"
        if isinstance(part, list):
            return "[" + ",".join(blank + write(child) for child in part) + blank + "]"
        if isinstance(part, str) and draw(st.booleans()):
            units = part.encode("utf-16-be")
            return (
                '"' + "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)) + '"'
            )
        return json.dumps(part, ensure_ascii=draw(st.booleans()))

    return (blank + write(value) + blank).encode()
