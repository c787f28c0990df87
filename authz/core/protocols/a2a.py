"""Reader of A2A's messages of 0.3 and 1.0, in three bindings: JSON-RPC, HTTP+JSON (REST) and gRPC.

The binding of a request follows from what every server sees: gRPC's content-type, else a word of
the REST binding in the path, else JSON-RPC. A body that is also a message of the other binding is
refused, since a server may choose either.
"""

import re
from typing import Final

from authz.core.paths import Segments, canonical_path
from authz.core.protocols import a2a_params, jsonrpc
from authz.core.protocols.a2a_methods import (
    CARDS,
    FORMS,
    GRPC_METHODS,
    JSONRPC_METHODS,
    SEND,
    RestForm,
)
from authz.core.protocols.body import parse
from authz.core.protocols.bodyless import require_no_body, require_no_upgrade
from authz.core.protocols.json_members import names, pick, target_name
from authz.core.protocols.jsonrpc import JsonRpcMessage
from authz.core.protocols.message import OWS, Message, MessageInput
from authz.core.protocols.query_parameters import parameter_values
from authz.core.reason import Denied, Reason
from authz.core.request import Call, CallKind

_VERSION_HEADER: Final = "a2a-version"
# A minor version of 1 adds and breaks nothing; a patch does not count (3.6).
_VERSION: Final = re.compile(r"(?:0\.[23]|1\.[0-9]{1,3})(?:\.[0-9]{1,3})?")
_REST_TYPES: Final = frozenset({"application/json", "application/a2a+json"})  # 1.0 section 11.1
_GRPC_TYPE: Final = re.compile(r"application/grpc(?:\+proto)?")
_GRPC_FLAGS: Final = (b"\x00", b"\x01")  # how a gRPC message begins: compressed or not
_SERVICES: Final = frozenset({"lf.a2a.v1.A2AService", "a2a.v1.A2AService"})  # of 1.0 and 0.3
_RPC_MEMBERS: Final = names("jsonrpc", "method")
# Segments that begin the REST binding's part of a path. Ids that look like them are refused.
_WORDS: Final = frozenset(
    {"tasks", "message:send", "message:stream", "pushnotificationconfigs", "extendedagentcard"}
)
_VERBS: Final = (":cancel", ":subscribe")
# Finds the first such segment, in a folded path that ends with "/": a path may have thousands.
_BEGINNING: Final = re.compile(rf"/(?:{'|'.join(sorted(_WORDS))}|[^/]*(?:{'|'.join(_VERBS)}))(?=/)")


def read(sent: MessageInput) -> Message:
    """Return a request's message. ``Call.method`` has the name of 1.0, whichever version was sent.

    A task gives kind "task". No version of the protocol has a request name a skill; many servers
    take ``message.metadata.skillId`` (also ``skill``, and beside the message), which gives kind
    "skill". A message for a task that names a skill gives two calls; tasks that it refers to give
    further calls. A URL for notifications within a message is a call of its own,
    "CreateTaskPushNotificationConfig". Agent cards are "GetAgentCard", without a target.

    gRPC's body is not read: a method that names a task has kind "task" and the name "". A message
    may also name a skill and hold a URL for notifications, so it gets these calls as well.

    Raises Denied: PATH_AMBIGUOUS; BODY_UNINSPECTABLE; MESSAGE_INVALID for a request that fits no
    binding; MESSAGE_PARAMS; and what ``body.parse`` raises.
    """
    require_no_upgrade(sent)
    _require_known_version(sent)
    path = canonical_path(sent.path)
    if (sent.header("content-type") or "").lower().startswith("application/grpc"):
        return _grpc(sent, path)
    folded = f"/{'/'.join(path)}/".casefold()
    if begins := _BEGINNING.search(folded):
        return _rest(sent, path[folded.count("/", 0, begins.start()) :])
    if sent.method == "GET":
        return _card(sent, path)
    if sent.method != "POST":
        raise Denied(Reason.MESSAGE_INVALID, "the HTTP method is not one that A2A uses")
    return jsonrpc.read(sent, _rpc_calls)


def _require_known_version(sent: MessageInput) -> None:
    """Refuse an unknown version, and two different versions: a query may name one too (3.6.1)."""
    version = sent.header(_VERSION_HEADER)
    if sent.query:
        said = {value.strip(OWS) for value in parameter_values(sent, _VERSION_HEADER)}
        said.add(version or "")
        said.discard("")  # an empty version counts as absent
        if len(said) > 1:
            raise _uninspectable("the request names two versions of A2A")
        version = said.pop() if said else None
    if version and not _VERSION.fullmatch(version):  # without one it is 0.3
        raise _uninspectable("the version of A2A is unknown")


def _rpc_calls(
    sent: MessageInput,
    messages: tuple[JsonRpcMessage, ...],
    is_batch: bool,  # noqa: FBT001 - as jsonrpc.Caller has it
) -> tuple[Call, ...]:
    if is_batch:
        raise Denied(Reason.MESSAGE_INVALID, "A2A has no batches")
    rpc = messages[0]
    if not rpc.method:
        raise Denied(Reason.MESSAGE_INVALID, "in A2A clients send no responses")
    known = JSONRPC_METHODS.get(rpc.method)
    if known is None:
        return (Call(rpc.method, is_known=False),)
    method, task_member = known
    if method in SEND:
        return a2a_params.send_calls(sent, method, rpc.params)
    return a2a_params.task_calls(sent, method, rpc.params, task_member)


def _is_word(segment: str) -> bool:
    folded = segment.casefold()
    return folded in _WORDS or folded.endswith(_VERBS)


def _rest(sent: MessageInput, path: Segments) -> Message:
    """Read a request of the REST binding; ``path`` begins with the binding's first word."""
    form, task = _form(sent, path)
    if sent.method != "POST":
        require_no_body(sent)
        return Message((Call(form.method, CallKind.TASK if task else CallKind.SERVER, task),))
    if form.has_optional_body and sent.header("content-length") == "0" and not sent.body:
        return Message((Call(form.method, CallKind.TASK, task),))
    body = parse(sent, _REST_TYPES)
    if pick(body, _RPC_MEMBERS):
        raise Denied(Reason.MESSAGE_INVALID, "the body is a message of JSON-RPC")
    if form.method in SEND:
        return Message(a2a_params.send_calls(sent, form.method, body))
    return Message(a2a_params.rest_task_calls(sent, form.method, body, task))


def _form(sent: MessageInput, path: Segments) -> tuple[RestForm, str]:
    """Return the path's form and the task's id in it, "" if it has no id."""
    task, colon, verb = path[1].partition(":") if len(path) > 1 else ("", "", "")
    shape = list(path)
    shape[1:2] = ["*" + colon + verb for _ in shape[1:2]]
    shape[3:] = ["*" for _ in shape[3:]]
    form = FORMS.get((sent.method, "/".join(shape)))
    ids = (*[task for _ in path[1:2]], *path[3:])
    if form is None or "" in ids or any(map(_is_word, ids)):
        raise _uninspectable("the path is not of A2A's HTTP binding")
    return form, target_name(sent, task) if task else ""


def _card(sent: MessageInput, path: Segments) -> Message:
    method = CARDS.get(path[-2:])
    if method is None:
        raise Denied(Reason.MESSAGE_INVALID, "the path is not an agent card's")
    require_no_body(sent)
    return Message((Call(method),))


def _grpc(sent: MessageInput, path: Segments) -> Message:
    content_type = (sent.header("content-type") or "").lower()
    if sent.method != "POST" or not _GRPC_TYPE.fullmatch(content_type):
        raise _uninspectable("the request is not gRPC with protobuf")
    if sent.body and not sent.body.startswith(_GRPC_FLAGS):
        raise _uninspectable("the body is not a gRPC message")
    if len(path) != 2 or path[0] not in _SERVICES:  # noqa: PLR2004 - /service/method
        raise _uninspectable("the path is not a method of A2A's gRPC service")
    return Message(_grpc_calls(path[1]))


def _grpc_calls(name: str) -> tuple[Call, ...]:
    known = GRPC_METHODS.get(name)
    if known is None:
        return (Call(name, is_known=False),)
    method, has_task = known
    call = Call(method, CallKind.TASK if has_task else CallKind.SERVER)
    if method not in SEND:
        return (call,)
    return (call, Call(method, CallKind.SKILL), Call(a2a_params.PUSH, CallKind.TASK))


def _uninspectable(detail: str) -> Denied:
    return Denied(Reason.BODY_UNINSPECTABLE, detail)
