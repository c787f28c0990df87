"""Reads what Envoy asks: a CheckRequest made into a Request."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from authz._pb import ext_authz_pb2 as pb
from authz.core import protocols
from authz.core.request import MessageProtocol, Request, credentials_elsewhere
from authz.edge.envoy.headers import Headers
from authz.edge.envoy.messages import Messages

# Tokens and certificates in use within seconds: one that was pushed out is only held twice. With
# values as large as a proxy lets through, some 60 KiB, these are 60 MB.
_HELD: Final = 1024
_UNREAD: Final = MessageProtocol.NONE  # bound once: to ask an enum for a member takes 0.2 us
_PLAIN: Final = protocols.Message(())  # of a route where none is read
_Value = TypeVar("_Value")
_COOKIE: Final = "cookie"
_REQUEST_ID: Final = "x-request-id"
_TRACE: Final = "traceparent"
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What decisions read, beside what every request has.

    Attributes:
        headers: lower-case names.
        namespaces: of ``metadata_context``.
        messages: how messages are read; None when none is.
        given: lower-case names of the headers that answers give to the upstream.
    """

    headers: frozenset[str]
    namespaces: tuple[str, ...] = ()
    messages: Messages | None = None
    given: frozenset[str] = frozenset()


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A CheckRequest, read.

    Attributes:
        request: all that decisions read.
        request_id, trace_id: for correlation only, as clients may choose them: ``x-request-id``,
            and what a valid W3C ``traceparent`` has.
        ids: JSON of the ids of the message's JSON-RPC requests, for the answer.
        twins: names of headers that an upstream may take for those that we read or give.
    """

    request: Request
    request_id: str = ""
    trace_id: str = ""
    ids: tuple[bytes, ...] = ()
    twins: tuple[str, ...] = ()


class Reader:
    """Reads the inputs of decisions from CheckRequests, ``headers`` and ``header_map`` alike.

    This runs for every request. Each access to a protobuf message makes a Python object, so nothing
    is asked for twice.
    """

    def __init__(self, inputs: Inputs) -> None:
        """Take what decisions read."""
        self._namespaces = inputs.namespaces
        self._decisive = tuple(sorted(inputs.headers))
        names = inputs.headers | {_COOKIE, _REQUEST_ID, _TRACE}
        guarded = inputs.headers | inputs.given
        self._headers = Headers(names, guarded)
        self._headers_with_message = Headers(names | protocols.HEADERS, guarded | protocols.HEADERS)
        self._messages = inputs.messages

    def read(self, message: pb.CheckRequest, proxy: str = "") -> Reading:
        """The request as the proxy presented it. Never fails: what is absent is empty."""
        attributes = message.attributes
        source, http = attributes.source, attributes.request.http
        path, _, query = http.path.partition("?")
        host = http.host
        context = attributes.context_extensions
        extensions = dict(context) if len(context) else {}
        messages = self._messages
        route = messages.route_of(host, path, extensions) if messages else None
        if messages and route:
            headers, twins = self._headers_with_message.read(http)
            asked = messages.read(route, attributes, headers, extensions, proxy)
        else:
            headers, twins = self._headers.read(http)
            asked = _PLAIN
        cookie = headers.get(_COOKIE, "")
        request = Request(
            http.method,
            host,
            path,
            _held(tuple([(name, headers[name]) for name in self._decisive if name in headers])),
            source.principal,
            _held(source.certificate),
            tuple(sorted(extensions.items())) if extensions else (),
            self._metadata(attributes) if self._namespaces else (),
            credentials_elsewhere(query, cookie) if query or cookie else (),
            route.protocol if route else _UNREAD,
            asked.calls,
            asked.unread,
            proxy,
        )
        trace = _TRACEPARENT.fullmatch(headers[_TRACE]) if _TRACE in headers else None
        trace_id = trace[1] if trace else ""
        return Reading(request, headers.get(_REQUEST_ID, ""), trace_id, asked.ids, twins)

    def _metadata(self, attributes: pb.AttributeContext) -> tuple[tuple[str, bytes], ...]:
        sent = attributes.metadata_context.filter_metadata
        return tuple((name, sent[name]) for name in self._namespaces if name in sent)


@lru_cache(_HELD)
def _held(value: _Value) -> _Value:
    """The value as one object that requests share: it is hashed once and kept once.

    Not ``sys.intern``: in Python 3.12 that keeps a text for ever.
    """
    return value


def attempt_of(message: pb.CheckRequest, decision_id: str) -> bytes:
    """What names the HTTP request: the same when the proxy asks again for it, no client's choice.

    The proxy's id of the stream and the time when it began, to the nanosecond. Neither will do
    alone: by Envoy's API the id may be a client's own ``x-request-id``, and a time may be that of
    many requests. Without both each check is an attempt of its own, named by its ``decision_id``.
    """
    request = message.attributes.request
    began = request.time
    if not request.http.id or not (began.seconds or began.nanos):
        return decision_id.encode()
    return f"{request.http.id} {began.seconds} {began.nanos}".encode()
