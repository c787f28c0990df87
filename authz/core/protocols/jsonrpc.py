"""JSON-RPC 2.0 messages: requests, notifications, responses, and batches of them.

Only a message that every reader understands alike is accepted: another reader may use a further
member, or a member that differs in case alone (Go's JSON library matches names in any case).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from authz.core.protocols import body
from authz.core.protocols.json_members import MAX_OWN_MEMBERS
from authz.core.protocols.message import Message, MessageInput
from authz.core.reason import Denied, Reason
from authz.core.request import Call, Unread

MAX_BATCH: Final = 32  # each element is decided separately
MAX_ID_CHARS: Final = 256  # of a text id, which answers echo; those in use are UUIDs
# Names of methods in use have 45 characters; only visible ASCII fits a header as well.
_METHOD: Final = re.compile(r"[!-~]{1,128}")
_CALL: Final = frozenset({"jsonrpc", "method", "params", "id"})
_RESPONSE: Final = frozenset({"jsonrpc", "id", "result", "error"})
_NO_PARAMS: Final[Mapping[str, Any]] = {}


class JsonRpcMessage(msgspec.Struct, frozen=True):
    """One JSON-RPC message.

    Attributes:
        method: visible ASCII; "" for a response.
        params: by name; empty when there are none, and for a response.
        id: the JSON of a request's id; b"" for a notification and for a response.
    """

    method: str
    params: Mapping[str, Any]
    id: bytes


# Returns the calls of a body's messages; the flag says whether they came as a batch. Raises Denied.
Caller = Callable[[MessageInput, tuple[JsonRpcMessage, ...], bool], tuple[Call, ...]]


def read(sent: MessageInput, calls: Caller) -> Message:
    """Return the message in the body. Never raises Denied; a refused message keeps its ids."""
    try:
        value = body.parse(sent)
    except Denied as denied:
        return unread_message(denied)
    try:
        messages = _messages(sent, value)
        made = calls(sent, messages, isinstance(value, list))
    except Denied as denied:
        return unread_message(denied, _ids(value))
    return Message(made, tuple([message.id for message in messages if message.id]))


def unread_message(denied: Denied, ids: tuple[bytes, ...] = ()) -> Message:
    """Build a message that is unread, with the ids of the requests that wait for an answer."""
    return Message((), ids, Unread(denied.reason, denied.detail))


def folded(*names: str) -> Mapping[str, str]:
    """Return the names of members that a protocol reads, for ``require_no_twins``."""
    return {name.casefold(): name for name in names}


def require_no_twins(members: Iterable[str], names: Mapping[str, str]) -> None:
    """Refuse members that differ from a known name only in case.

    Raises Denied(MESSAGE_PARAMS).
    """
    for member in members:
        if names.get(member.casefold(), member) != member:
            raise Denied(
                Reason.MESSAGE_PARAMS, "a member's name differs from a known name only in case"
            )


def method_name(value: object) -> str:
    """Return the name of a method. Raises Denied(MESSAGE_INVALID)."""
    if not isinstance(value, str) or not _METHOD.fullmatch(value):
        raise _invalid("the method is not a valid name")
    return value


def encode_id(value: object) -> bytes:
    """Return the JSON of an id that answers can carry; b"" if invalid (JSON-RPC 2.0 section 4)."""
    if isinstance(value, str):
        return msgspec.json.encode(value) if len(value) <= MAX_ID_CHARS else b""
    if isinstance(value, int) and not isinstance(value, bool):
        return b"%d" % value
    return b""


def _ids(value: object) -> tuple[bytes, ...]:
    """Return the ids of the messages that ask for an answer, even if otherwise invalid."""
    elements = value if isinstance(value, list) else [value]
    if len(elements) > MAX_BATCH:
        return ()
    calls = (call for call in elements if isinstance(call, dict) and "method" in call)
    return tuple([found for call in calls if (found := encode_id(call.get("id")))])


def _messages(sent: MessageInput, value: object) -> tuple[JsonRpcMessage, ...]:
    if not isinstance(value, list):
        return (_message(sent, value),)
    if not 0 < len(value) <= MAX_BATCH:
        raise _invalid(f"a batch must have 1 to {MAX_BATCH} messages")
    return tuple(_message(sent, element) for element in value)


def _message(sent: MessageInput, value: object) -> JsonRpcMessage:
    if not isinstance(value, dict):
        raise _invalid("a message is not an object")
    if value.get("jsonrpc") != "2.0":
        raise _invalid("the message is not JSON-RPC 2.0")
    if "method" not in value:
        return _response(value)
    if not value.keys() <= _CALL:
        raise _invalid("the message has a member that requests don't have")
    method = method_name(value["method"])
    body.require_unmasked(sent, method)
    request_id = encode_id(value["id"]) if "id" in value else b""
    if "id" in value and not request_id:
        raise _invalid("the id is neither a whole number nor text of a sane length")
    params = value.get("params")
    # A null is not a structured value (JSON-RPC 2.0 section 4.2), but names no target either. A
    # server refuses it, or treats it as absent params, which is what most senders mean.
    if params is None:
        params = _NO_PARAMS
    elif not isinstance(params, dict):
        raise Denied(Reason.MESSAGE_PARAMS, "the params are not an object")
    if len(params) > MAX_OWN_MEMBERS:
        raise Denied(Reason.MESSAGE_PARAMS, f"the params have more than {MAX_OWN_MEMBERS} members")
    return JsonRpcMessage(method, params, request_id)


def _response(value: dict[str, Any]) -> JsonRpcMessage:
    """Read an answer to a server's request: a result or an error, never both."""
    if not value.keys() <= _RESPONSE:
        raise _invalid("the message has neither a method nor the members of a response")
    if ("result" in value) == ("error" in value):
        raise _invalid("a response has a result or an error")
    # An error that answers a message without a readable id has no id itself, or null.
    is_anonymous = "error" in value and value.get("id") is None
    if not is_anonymous and not encode_id(value.get("id")):
        raise _invalid("the id of a response is neither a whole number nor text of a sane length")
    return JsonRpcMessage("", _NO_PARAMS, b"")


def _invalid(detail: str) -> Denied:
    return Denied(Reason.MESSAGE_INVALID, detail)
