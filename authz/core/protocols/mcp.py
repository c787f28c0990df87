"""Reader of MCP's messages over Streamable HTTP, of all its revisions.

The body decides, and headers must agree with it. If the proxy sends no body, the metadata of its
own MCP filter may replace it, or the headers alone if servers must compare them with the body.
Sessions do not authenticate: nothing here reads their ids.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from authz.core.protocols import body, bodyless, jsonrpc, mcp_headers, mcp_metadata
from authz.core.protocols.json_members import as_json, require_distinct
from authz.core.protocols.jsonrpc import JsonRpcMessage
from authz.core.protocols.mcp_methods import (
    COMPLETE,
    INITIALIZE,
    LISTEN,
    MEMBERS,
    METHODS,
    McpMethod,
    is_known,
    is_notification,
)
from authz.core.protocols.message import Message, MessageInput
from authz.core.reason import Denied, Reason
from authz.core.request import MAX_NAME_CHARS, MAX_URI_CHARS, Call, CallKind

MAX_CALLS: Final = 128  # of one message: a batch, or the subscriptions of one stream
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REFERENCES: Final = {
    "ref/prompt": (CallKind.PROMPT, "name"),
    "ref/resource": (CallKind.RESOURCE, "uri"),
}
_LISTS: Final = (
    (CallKind.RESOURCE, "resourceSubscriptions"),
    (CallKind.TASK, "taskIds"),
)
_MEMBERS: Final = jsonrpc.folded("_meta", "arguments", "notifications", "ref", *MEMBERS)
_REFERENCE_MEMBERS: Final = jsonrpc.folded("name", "type", "uri")
_FLAGS: Final = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
_SUBSCRIPTIONS: Final = frozenset({*_FLAGS, *(member for _, member in _LISTS)})
_UNKNOWN: Final = McpMethod()
_NO_BODY: Final = {"GET": Call("", CallKind.STREAM), "DELETE": Call("", CallKind.SESSION)}
_RESPONSE: Final = Call("", CallKind.RESPONSE)
# The targets that a client may be listening to, if the proxy does not show them.
LISTENING_UNSEEN: Final = (Call(LISTEN), *(Call(LISTEN, kind) for kind, _ in _LISTS))
_NO_ARGUMENTS: Final[Mapping[str, Any]] = {}


def read(sent: MessageInput) -> Message:
    """Return an MCP request's message. Never raises Denied: an unread message holds the reason."""
    try:
        return _read(sent)
    except Denied as denied:
        return jsonrpc.unread_message(denied)


def _read(sent: MessageInput) -> Message:
    bodyless.require_no_upgrade(sent)
    if sent.method != "POST":
        return Message((_without_body(sent),))
    if not sent.body and sent.metadata is not None:
        return _from_metadata(sent, mcp_metadata.message(sent.metadata))
    if not sent.body and sent.trusts_headers:
        return Message((_from_headers(sent),))
    return jsonrpc.read(sent, _calls)


def _without_body(sent: MessageInput) -> Call:
    """Return the call of a GET or DELETE, which earlier revisions use. Raises Denied."""
    if sent.method not in _NO_BODY:
        raise Denied(Reason.MESSAGE_INVALID, "MCP uses POST, GET and DELETE")
    bodyless.require_no_body(sent)
    return _NO_BODY[sent.method]


def _from_metadata(sent: MessageInput, message: JsonRpcMessage) -> Message:
    """Return the call that the proxy's filter found, which has neither arguments nor lists."""
    ids = (message.id,) if message.id else ()
    if message.method == LISTEN:
        denied = Denied(Reason.BODY_UNINSPECTABLE, "the proxy's filter reads no subscriptions")
        return jsonrpc.unread_message(denied, ids)
    try:
        call = _call(sent, message)
        mcp_headers.require_agreement(sent, message, call.name, is_whole=False)
    except Denied as denied:
        return jsonrpc.unread_message(denied, ids)
    return Message((call,), ids)


def _from_headers(sent: MessageInput) -> Call:
    """Return the call in the headers, if the server must compare them with the body."""
    method = mcp_headers.trusted_method(sent)
    known = METHODS.get(method, _UNKNOWN)
    if known.is_mirrored:
        name = _name(sent, mcp_headers.trusted_name(sent), known.member)
        return Call(method, known.kind, name)
    if known.kind or known.has_other_targets:
        detail = "the target of the method is in no header that servers must compare"
        raise Denied(Reason.MCP_UNTRUSTED_HEADERS, detail)
    return Call(method, is_known=is_known(method))


def _calls(
    sent: MessageInput,
    messages: tuple[JsonRpcMessage, ...],
    is_batch: bool,  # noqa: FBT001 - as jsonrpc.Caller has it
) -> tuple[Call, ...]:
    if is_batch:
        mcp_headers.require_batches(sent)
        if any(message.method == INITIALIZE for message in messages):
            raise Denied(Reason.MESSAGE_INVALID, "a session begins with no batch")
    calls: list[Call] = []
    for message in messages:
        call = _call(sent, message)
        mcp_headers.require_agreement(sent, message, call.name)
        calls.append(_with_arguments(sent, call, message.params))
        if message.method == LISTEN:
            calls += _subscriptions(sent, message.params)
    if len(calls) > MAX_CALLS:
        raise Denied(Reason.MESSAGE_PARAMS, f"the message makes more than {MAX_CALLS} calls")
    return tuple(calls)


def _call(sent: MessageInput, message: JsonRpcMessage) -> Call:
    method, params = message.method, message.params
    if not method:
        return _RESPONSE
    jsonrpc.require_no_twins(params, _MEMBERS)
    if message.id and is_notification(method):
        raise Denied(Reason.MESSAGE_INVALID, "a notification has no id")
    known = METHODS.get(method, _UNKNOWN)
    if known.kind:
        return Call(method, known.kind, _name(sent, params.get(known.member), known.member))
    if method == COMPLETE:
        return Call(method, *_reference(sent, params.get("ref")))
    return Call(method, is_known=is_known(method))


def _reference(sent: MessageInput, ref: object) -> tuple[CallKind, str]:
    """Return the kind and the name of the prompt or resource of a completion."""
    if not isinstance(ref, dict):
        raise Denied(Reason.MESSAGE_PARAMS, "the ref is not an object")
    jsonrpc.require_no_twins(ref, _REFERENCE_MEMBERS)
    for referred, (kind, member) in _REFERENCES.items():
        if ref.get("type") == referred:
            return kind, _name(sent, ref.get(member), member)
    raise Denied(Reason.MESSAGE_PARAMS, "the ref is neither a prompt's nor a resource's")


def _subscriptions(sent: MessageInput, params: Mapping[str, Any]) -> Iterator[Call]:
    """Yield a call for each resource and task that a stream of notifications is about."""
    notifications = params.get("notifications")
    if not isinstance(notifications, dict):
        raise Denied(Reason.MESSAGE_PARAMS, "notifications is not an object")
    if not notifications.keys() <= _SUBSCRIPTIONS:
        raise Denied(
            Reason.MESSAGE_PARAMS, "notifications has an unknown member, which may name anything"
        )
    for kind, member in _LISTS:
        names = notifications.get(member)
        if names is None:
            continue
        if not isinstance(names, list) or len(names) > MAX_CALLS:
            raise Denied(Reason.MESSAGE_PARAMS, f"{member} is not a list of at most {MAX_CALLS}")
        for name in names:
            yield Call(
                LISTEN, kind, _name(sent, name, "uri" if kind is CallKind.RESOURCE else "taskId")
            )


def _name(sent: MessageInput, value: object, member: str) -> str:
    """Return the name of a target, exactly as the server reads it."""
    most = MAX_URI_CHARS if member == "uri" else MAX_NAME_CHARS
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise Denied(Reason.MESSAGE_PARAMS, f"{member} is not text of 1 to {most} characters")
    if _CONTROL.search(value):
        raise Denied(Reason.MESSAGE_PARAMS, f"{member} has a control character")
    body.require_unmasked(sent, value)
    return value


def _with_arguments(sent: MessageInput, call: Call, params: Mapping[str, Any]) -> Call:
    """Add the arguments to a call if a decision reads them: they become a part of its key."""
    arguments = params.get("arguments")
    if arguments is None:  # as with params, null counts as absent
        arguments = _NO_ARGUMENTS
    elif not isinstance(arguments, dict):
        raise Denied(Reason.MESSAGE_PARAMS, "arguments is not an object")
    if not sent.reads_arguments(call):
        return call
    data = as_json(arguments)
    require_distinct(data)
    if body.may_be_masked(sent, data.decode()):  # "pro!d" may be "prod" to a lax server
        return call
    return msgspec.structs.replace(call, arguments=data)
