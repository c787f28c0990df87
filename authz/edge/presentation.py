"""A check as a proxy presented it, without any secret: what ``authz doctor`` reads.

A presentation has names, numbers and SPIFFE IDs; no value of a header, no path, no query and no
part of a token or body.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from authz.core.request import MAX_METHOD_CHARS

MAX_NAMES: Final = 64  # of a request's headers, extensions or namespaces; Envoy's default is 100
MAX_NAME_CHARS: Final = 64
MAX_ID_CHARS: Final = 256  # of a SPIFFE ID, which may have 2048; those in use have some 60
MAX_IDS: Final = 16  # as many elements as are read; a client may write many names into one
MAX_DETAIL_CHARS: Final = 200
_UNSEEN: Final = re.compile(r"[^\x21-\x7e]")
_UNPRINTED: Final = re.compile(r"[^\x20-\x7e]")
# Protocols in which a proxy asks.
EXT_AUTHZ: Final = "ext_authz"
GUARDRAILS: Final = "guardrails"
GUARDRAILS_RESULT: Final = "guardrails_result"
Key = tuple[str, ...]


class XfccSeen(msgspec.Struct, frozen=True):
    """The header ``x-forwarded-client-cert``, as far as it names anyone.

    Attributes:
        elements: how many there are, 0 where the header is missing or can't be read.
        uris: the SPIFFE IDs of the certificates that the proxies saw, in order; "" for an element
            that does not name exactly one.
        by: the SPIFFE IDs of the proxies that wrote the elements, in order; MAX_IDS at most.
        fault: why the header can't be read; "" if it can.
    """

    elements: int = 0
    uris: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    fault: str = ""


class IdentitySeen(msgspec.Struct, frozen=True):
    """The evidence of the caller, and what became of it.

    Attributes:
        principal: source.principal, "" if it was not sent.
        principal_form: spiffe, uri, subject (an X.500 name), name, or "" if it was not sent.
        certificate: absent, svid, or the rule that source.certificate breaks.
        xfcc: the header of earlier proxies; None if it was not sent.
        agent: the SPIFFE ID that the profile makes of it, "" if it was refused.
        reason, detail: why it was refused; "" if it was not.
    """

    principal: str = ""
    principal_form: str = ""
    certificate: str = "absent"
    xfcc: XfccSeen | None = None
    agent: str = ""
    reason: str = ""
    detail: str = ""


class HeadersSeen(msgspec.Struct, frozen=True):
    """The names of a request's headers.

    Attributes:
        form: raw (each occurrence alone), joined (one text for all of a name), or none.
        count: how many came.
        names: MAX_NAMES of them at most, in visible ASCII, sorted.
        credentials: those in which a token or its proof came.
    """

    form: str = "none"
    count: int = 0
    names: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()


class BodySeen(msgspec.Struct, frozen=True):
    """The numbers of a request's body.

    Attributes:
        form: raw (bytes), text, or none.
        bytes: how many the proxy sent.
        size: how many the proxy counted; -1 if it says that it cut the body.
        content_length: as the client announced; None if it did not, -1 if that is not a number.
        is_partial: whether the proxy says so in ``x-envoy-auth-partial-body``; None without it.
    """

    form: str = "none"
    bytes: int = 0
    size: int = 0
    content_length: int | None = None
    is_partial: bool | None = None


class Presentation(msgspec.Struct, frozen=True):
    """A check as a proxy presented it, redacted.

    Attributes:
        protocol: ext_authz, guardrails (before a call) or guardrails_result (after it).
        proxy: the SPIFFE ID of the caller's certificate on server.listen, "" without one.
        profile: the name of the profile that applies; the name that was asked for if it does not.
        profile_by: extension, callers or default: what chose it.
        route: the route's name, "" for the defaults.
        named_route: the context extension authz_route, "" if it was not sent.
        messages: the protocol of the route's messages, "" if none are read.
        method: the HTTP method, "other" for an unusual one; for guardrails the method of JSON-RPC.
        identity, headers, body: what stood there.
        extensions: the names of the context extensions.
        max_request_bytes: the context extension authz_max_request_bytes, "" if it was not sent.
        namespaces: of the metadata that the proxy sent.
        id_form: of the proxy's own id of the request: decimal, hex, other, or "" without one.
        has_time: whether the proxy says when the request began.
        has_trace: whether traceparent came.
        path_forms: forms in the path that servers read differently.
        decision: allow, or the reason of the refusal; "" if it was not decided.
        at: unix seconds of the check.
    """

    protocol: str
    proxy: str = ""
    profile: str = ""
    profile_by: str = ""
    route: str = ""
    named_route: str = ""
    messages: str = ""
    method: str = ""
    identity: IdentitySeen = IdentitySeen()
    headers: HeadersSeen = HeadersSeen()
    body: BodySeen = BodySeen()
    extensions: tuple[str, ...] = ()
    max_request_bytes: str = ""
    namespaces: tuple[str, ...] = ()
    id_form: str = ""
    has_time: bool = False
    has_trace: bool = False
    path_forms: tuple[str, ...] = ()
    decision: str = ""
    at: float = 0.0


class Kept(msgspec.Struct, frozen=True):
    """The last presentation of a kind, with counts of the kind.

    Attributes:
        last: the presentation.
        decided: how many checks of the kind were decided, without those from the cache.
        seen: of how many a presentation was made.
        with_credential: how many of these had a token's header.
    """

    last: Presentation
    decided: int = 1
    seen: int = 1
    with_credential: int = 0


def shown_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return MAX_NAMES names at most, in visible ASCII and cut to MAX_NAME_CHARS, sorted."""
    found = {_UNSEEN.sub("?", name[:MAX_NAME_CHARS]) for name, _ in zip(names, range(MAX_NAMES))}  # noqa: B905 - the shorter ends it
    return tuple(sorted(found))


def shown_id(text: str) -> str:
    """Return a name of a caller or a setting in visible ASCII, cut to MAX_ID_CHARS."""
    return _UNPRINTED.sub("?", text[:MAX_ID_CHARS])


def shown_detail(text: str) -> str:
    """Return a detail in printable ASCII, cut to MAX_DETAIL_CHARS."""
    return _UNPRINTED.sub("?", text[:MAX_DETAIL_CHARS])


def shown_method(method: str, usual: Iterable[str]) -> str:
    """Return a method if it is one of the usual, else "other": a client can send any text."""
    return method if len(method) <= MAX_METHOD_CHARS and method in usual else "other"
