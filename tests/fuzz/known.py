"""Known messages: whatever is changed in one, what is read is what a full reading reads."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from authz.edge.envoy.known_messages import CheckReader
from authz.edge.inputs import RequestInputs
from support.known_checks import INPUTS, RECORDED, again, ask_for, full, read

Draw = Callable[..., Any]
Mutate = Callable[[Draw, bytes], bytes]
MakeReader = Callable[[RequestInputs], CheckReader]
BODY = b'{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"%s"}}'


def check(make: MakeReader, draw: Draw, mutate: Mutate) -> tuple[str, str]:
    """Teach a reader a request, and have it read another; what it did, and what was wrong."""
    inputs = INPUTS[draw(st.sampled_from(["common", "messages", "limit", "metadata"]))]
    reader, data = make(inputs), RECORDED[draw(st.sampled_from(list(RECORDED)))]
    body = draw(st.sampled_from([b"", BODY % (b"a" * 3), BODY % (b"a" * 100)]))
    for number in range(1, 4):
        reader.read(again(ask_for(data, "/finance/accounts/7", body), number), "")
    if draw(st.booleans()):
        target = draw(st.sampled_from(["/finance/accounts/8", "/finance/a", "/x?a=%41"]))
        body = draw(st.sampled_from([body, BODY % (b"b" * 3), BODY % (b"b" * 90)]))
        data = ask_for(data, target, body)
    else:
        data = ask_for(data, "/finance/accounts/7", body)
    sent = mutate(draw, again(data, 5))
    found, expected = read(reader, sent), full(inputs, sent)
    if found != expected:
        return "", f"{sent!r} was read as {found!r}, and in full as {expected!r}"
    return "refused" if expected is None else "read", ""
