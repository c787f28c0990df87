"""Messages fuzzed: what is read of a body has to hold what any server could take it for.

The reference is a set of lax servers: of two members of one name they keep the first or the last,
and some compare names in any case, or without underscores, as JSON libraries in use do.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from hypothesis import strategies as st

from authz.core.protocols.message import Message, MessageInput
from authz.core.request import MessageProtocol
from support.messages import post

Draw = Callable[..., Any]
Read = Callable[[MessageProtocol, MessageInput], Message]
Fold = Callable[[str], str]
Asked = tuple[str, str]  # a method and a target's name; of a model call also ("tool", its name)

PATHS = {"mcp": "/mcp", "a2a": "/agents/a", "openai": "/v1/chat/completions"}
FOLDS: tuple[Fold, ...] = (str, str.casefold, lambda name: name.casefold().replace("_", ""))
NAMES = ["one", "two", "three"]
A2A = {
    "GetTask": "GetTask",
    "tasks/get": "GetTask",
    "CancelTask": "CancelTask",
    "tasks/cancel": "CancelTask",
}
SEND = {"SendMessage": "SendMessage", "message/send": "SendMessage"}
MEMBERS = {
    "mcp": ["jsonrpc", "method", "params", "name", "arguments", "id", "x"],
    "a2a": ["method", "params", "id", "taskId", "message", "request", "metadata", "skillId", "x"],
    "openai": ["model", "models", "tools", "function", "name", "type", "stream", "functions", "x"],
}
METHODS = ["tools/call", "tools/list", *A2A, *SEND]


def check(read: Read, draw: Draw, mutated: Callable[[Draw, bytes], bytes]) -> tuple[str, str]:
    """Read one drawn message: the answer, and what is wrong with it, "" when nothing is."""
    protocol = draw(st.sampled_from(list(PATHS)))
    body = _written(draw, _good(draw, protocol), MEMBERS[protocol])
    if draw(st.integers(0, 3)) == 0:
        body = mutated(draw, body)
    is_cut = draw(st.integers(0, 9)) == 0
    message = read(MessageProtocol(protocol), _sent(draw, protocol, body, is_cut=is_cut))
    if message.unread:
        return f"{protocol} unread", "" if not message.calls else "calls of an unread message"
    if is_cut or not message.calls:
        return f"{protocol} read", f"read a cut body, or nothing, of {body!r}"
    found = {(call.method, call.name) for call in message.calls}
    found |= {("tool", tool) for call in message.calls for tool in call.tools}
    missed = set(asked(protocol, body)) - found
    return f"{protocol} read", f"missed {missed} in {body!r}" if missed else ""


def _good(draw: Draw, protocol: str) -> dict[str, Any]:
    """A body that has nothing odd."""
    name = draw(st.sampled_from(NAMES))
    if protocol == "openai":
        tools = [{"type": "function", "function": {"name": tool}} for tool in NAMES[:1]]
        return {"model": name, "stream": False, "tools": tools}
    if protocol == "mcp":
        return _rpc("tools/call", {"name": name, "arguments": {"x": 1}})
    if draw(st.booleans()):
        return _rpc(draw(st.sampled_from(list(A2A))), {"id": name})
    return _rpc(draw(st.sampled_from(list(SEND))), {"message": {"taskId": name}})


def _rpc(method: str, params: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _written(draw: Draw, value: object, members: list[str]) -> bytes:
    """JSON of a value, to whose objects members may be added: mostly ones that they have."""
    values = st.sampled_from(NAMES) | st.sampled_from([*METHODS, {"name": "two"}, 1])

    def write(one: object) -> str:
        if isinstance(one, list):
            return f"[{','.join(map(write, one))}]"
        if not isinstance(one, dict):
            return json.dumps(one)
        pairs = list(one.items())
        if draw(st.booleans()):
            names = list(one) if draw(st.integers(0, 3)) else members
            pair = draw(_spellings(names)), draw(values)
            pairs.insert(draw(st.integers(0, len(pairs))), pair)
        return "{" + ",".join(f"{json.dumps(name)}:{write(child)}" for name, child in pairs) + "}"

    return write(value).encode()


def _spellings(members: list[str]) -> st.SearchStrategy[str]:
    ways: list[Callable[[str], str]] = [
        str,
        str.upper,
        str.capitalize,
        lambda name: name.replace("I", "_i"),
        lambda name: name.replace("s", "\u017f"),  # the long s, an s to Go
    ]
    return st.tuples(st.sampled_from(ways), st.sampled_from(members)).map(
        lambda drawn: drawn[0](drawn[1])
    )


def _sent(draw: Draw, protocol: str, body: bytes, *, is_cut: bool) -> MessageInput:
    if not is_cut:
        return post(PATHS[protocol], body, is_text=draw(st.booleans()))
    headers = draw(
        st.sampled_from(
            [
                {"x-envoy-auth-partial-body": "true"},
                {"x-envoy-auth-partial-body": "false,true"},
                {"content-length": str(len(body) + 1)},
            ]
        )
    )
    return post(PATHS[protocol], body, headers)


def asked(protocol: str, body: bytes) -> Iterator[Asked]:
    """What lax servers could take a body for; nothing where it is no JSON to any."""
    for fold, is_first in product(FOLDS, (True, False)):
        try:
            value = json.loads(body, object_pairs_hook=_keeping(fold, is_first=is_first))
        except (ValueError, RecursionError):
            continue
        yield from _served(protocol, value, fold)


def _keeping(fold: Fold, *, is_first: bool) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {fold(name): value for name, value in (reversed(pairs) if is_first else pairs)}

    return keep


def _served(protocol: str, value: object, fold: Fold) -> Iterator[Asked]:
    if protocol == "openai":
        yield from _text("chat/completions", _at(value, fold, "model"))
        tools = _at(value, fold, "tools")
        for tool in tools if isinstance(tools, list) else []:
            yield from _text("tool", _at(tool, fold, "function", "name"))
            yield from _text("tool", _at(tool, fold, "name"))
        return
    method = _at(value, fold, "method")
    if not isinstance(method, str) or _at(value, fold, "jsonrpc") is None:
        return
    if protocol == "mcp" and method == "tools/call":
        yield from _text(method, _at(value, fold, "params", "name"))
    if protocol == "a2a" and method in A2A:
        yield from _text(A2A[method], _at(value, fold, "params", "id"))
    if protocol == "a2a" and method in SEND:
        yield from _text(SEND[method], _at(value, fold, "params", "message", "taskId"))
        yield from _text(SEND[method], _at(value, fold, "params", "message", "metadata", "skillId"))


def _at(value: object, fold: Fold, *names: str) -> object:
    for name in names:
        value = value.get(fold(name)) if isinstance(value, Mapping) else None
    return value


def _text(method: str, name: object) -> Iterator[Asked]:
    if isinstance(name, str) and name:
        yield method, name
