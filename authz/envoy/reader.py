"""Reads what Envoy asks: a CheckRequest made into a Request."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from authz import rpc
from authz._pb import ext_authz_pb2 as pb
from authz.request import Request, credentials_elsewhere

# Tokens and certificates in use within seconds: one that was pushed out is only held twice. With
# values as large as a proxy lets through, some 60 KiB, these are 60 MB.
_HELD: Final = 1024
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
        rpc: whether the JSON-RPC method of a request without a token matters.
    """

    headers: frozenset[str]
    namespaces: tuple[str, ...] = ()
    rpc: bool = False


class Reader:
    """Reads the inputs of decisions from CheckRequests, ``headers`` and ``header_map`` alike.

    This runs for every request. Each access to a protobuf message makes a Python object, so nothing
    is asked for twice; and ``x in map`` costs a third of ``map[x]``, so it comes first.
    """

    def __init__(self, inputs: Inputs) -> None:
        """Take what decisions read."""
        self._namespaces = inputs.namespaces
        self._reads_rpc = inputs.rpc
        self._decisive = tuple(sorted(inputs.headers))
        rpc_headers = rpc.HEADERS if inputs.rpc else ()
        self._names = inputs.headers | {_COOKIE, _REQUEST_ID, _TRACE, *rpc_headers}

    def read(self, message: pb.CheckRequest, proxy: str = "") -> tuple[Request, str, str]:
        """The request as the proxy presented it, its request id and its trace id.

        Never fails: what is absent is empty. The ids are for correlation only, and clients may
        choose them: ``x-request-id``, and what a valid W3C ``traceparent`` has.
        """
        attributes = message.attributes
        source, http = attributes.source, attributes.request.http
        path, _, query = http.path.partition("?")
        headers = _headers(http, self._names)
        cookie = headers.get(_COOKIE, "")
        context = attributes.context_extensions
        request = Request(
            http.method,
            http.host,
            path,
            _held(tuple([(name, headers[name]) for name in self._decisive if name in headers])),
            source.principal,
            _held(source.certificate),
            tuple(sorted(context.items())) if len(context) else (),
            self._metadata(attributes) if self._namespaces else (),
            credentials_elsewhere(query, cookie) if query or cookie else (),
            _rpc(http, headers) if self._reads_rpc else "",
            proxy,
        )
        trace = _TRACEPARENT.fullmatch(headers[_TRACE]) if _TRACE in headers else None
        return request, headers.get(_REQUEST_ID, ""), trace[1] if trace else ""

    def _metadata(self, attributes: pb.AttributeContext) -> tuple[tuple[str, bytes], ...]:
        sent = attributes.metadata_context.filter_metadata
        return tuple((name, sent[name]) for name in self._namespaces if name in sent)


@lru_cache(_HELD)
def _held(value: _Value) -> _Value:
    """The value as one object that requests share: it is hashed once and kept once.

    Not ``sys.intern``: in Python 3.12 that keeps a text for ever.
    """
    return value


def _rpc(http: pb.HttpRequest, headers: dict[str, str]) -> str:
    body = http.raw_body or http.body.encode()
    return rpc.method_of(http.method, headers, body)


def _headers(http: pb.HttpRequest, names: frozenset[str]) -> dict[str, str]:
    """The headers of these names; occurrences of one are joined with "," as Envoy does."""
    values = http.headers
    found: dict[str, str] = {}
    if len(values):
        for name in names:
            if name in values:
                found[name] = values[name]
    if http.HasField("header_map"):
        for header in http.header_map.headers:
            name = header.key.lower()
            if name in names:
                text = _text(header)
                found[name] = f"{found[name]},{text}" if name in found else text
    return found


def _text(header: pb.HeaderValue) -> str:
    # Envoy fills one of the two. Bytes that are no UTF-8 become U+FFFD, which no check lets pass.
    return header.value or header.raw_value.decode("utf-8", "replace")


def attempt_of(message: pb.CheckRequest) -> bytes:
    """What names the HTTP request: the same when the proxy asks again for it, no client's choice.

    The proxy's id of the stream and the time when it began, to the nanosecond.
    """
    request = message.attributes.request
    return f"{request.http.id} {request.time.seconds} {request.time.nanos}".encode()
