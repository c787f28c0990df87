"""The request as the proxy presented it, and the operation that it means.

``Request`` holds every input that a decision may read, and nothing else: so it is also the key
under which a decision is cached, and no input can be forgotten there. ``Operation`` is its
canonical form. A request whose target has no sane reading has no operation; an operation names the
forms that some servers read differently (``authz.core.paths``).
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple, Self

import msgspec

from authz.core.paths import Forms, Segments, read_path
from authz.core.reason import Denied, Reason

MAX_HOST_BYTES: Final = 253 + 6  # RFC 1035 section 2.3.4, and a port
MAX_METHOD_CHARS: Final = 32
_HOSTS: Final = 1024  # in use; 400 bytes each at most
# Of the names of targets: MCP advises 128 for tools; ids of tasks are UUIDs or tokens. And of URIs.
MAX_NAME_CHARS: Final = 256
MAX_URI_CHARS: Final = 2048
XFCC: Final = "x-forwarded-client-cert"
DPOP: Final = "dpop"  # the header of the proof (RFC 9449 section 4.1)
# RFC 6750 section 2.3 allows a token in the query; RFC 9700 and MCP forbid it, as logs keep it.
_QUERY_TOKEN: Final = "access_token"
_COOKIE_TOKEN: Final = "authorization"
# The same names in a pair. Each is a single search without backtracking, because it runs on
# everything that a client sends, before the client is known: pair by pair, 60 KiB took 50 ms.
_QUERY_PAIR: Final = re.compile(
    f"&{''.join(f'(?:{char}|(?i:%{ord(char):02x}))' for char in _QUERY_TOKEN)}[=&]"
)
_COOKIE_PAIR: Final = re.compile(rf";\s*+{_COOKIE_TOKEN}\s*+[=;]")
_URI_TAIL: Final = re.compile(r"[?#]")  # RFC 3986 sections 3.4 and 3.5
# The RFC 9110 tokens that are in use; never lower case.
_METHOD: Final = re.compile(rf"[A-Z][A-Z-]{{0,{MAX_METHOD_CHARS - 1}}}")
_USUAL_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_HOST: Final = re.compile(
    r"(?P<name>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)


class MessageProtocol(StrEnum):
    """The protocol of a route's messages."""

    NONE = ""
    MCP = "mcp"
    A2A = "a2a"
    OPENAI = "openai"


class CallKind(StrEnum):
    """The kind of a call's target; SERVER for the server itself.

    A message without a method is a RESPONSE, a STREAM (GET) or a SESSION (DELETE).
    """

    SERVER = ""
    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"
    TASK = "task"
    SKILL = "skill"
    MODEL = "model"
    RESPONSE = "response"
    STREAM = "stream"
    SESSION = "session"


MESSAGE_KINDS: Final = frozenset({CallKind.RESPONSE, CallKind.STREAM, CallKind.SESSION})
_NAMELESS: Final = MESSAGE_KINDS | {CallKind.SERVER}


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call that a message makes, in the terms of its protocol.

    Attributes:
        method: the JSON-RPC method of MCP and A2A, such as "tools/call"; the kind of a model call,
            such as "chat/completions"; "" for a message without a method.
        kind: the kind of the target.
        name: the target: a tool's name, a resource's URI, a task's id; "" for the server, and for
            a target whose name can't be read.
        is_known: whether the method belongs to the protocol, in the versions known here.
        arguments: JSON of the call's arguments, if a decision reads them; else b"".
        tools: names of the tools that a model call offers.
        is_streaming: whether a model call asks for a stream.
    """

    method: str
    kind: CallKind = CallKind.SERVER
    name: str = ""
    is_known: bool = True
    arguments: bytes = b""
    tools: tuple[str, ...] = ()
    is_streaming: bool = False

    @property
    def hides_name(self) -> bool:
        """Tell whether the target's name can't be read, so that it may be any of its kind."""
        return not self.name and self.kind not in _NAMELESS

    @property
    def shown_name(self) -> str:
        """The name for records; a URI without user, query and fragment, which may be secrets."""
        if self.kind is not CallKind.RESOURCE:
            return self.name
        scheme, slashes, rest = _URI_TAIL.split(self.name, maxsplit=1)[0].partition("//")
        authority, slash, path = rest.partition("/")
        return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


class Unread(NamedTuple):
    """Why a message has no certain meaning; ``detail`` is for operators, without its content."""

    reason: Reason
    detail: str


class Request(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """A request as the proxy presented it: raw, hashable, and complete for a decision.

    Attributes:
        method, host, path: as they will reach the upstream; ``path`` without the query.
        headers: (lower-case name, value) of the headers that decisions read; occurrences of one
            name are joined with "," as Envoy does.
        principal: ``source.principal``: URI SAN, else DNS SAN, else subject of the client's
            certificate; "" when the proxy sent none.
        certificate: ``source.certificate``: URL-encoded PEM of the client's leaf, or "".
        context: the route's ``context_extensions``, which only the operator writes.
        metadata: (namespace, serialised Struct) of the metadata namespaces that profiles name.
        elsewhere: places other than a header that hold a credential: "query", "cookie".
        protocol: of the messages on the route; NONE if they are not read.
        calls: the calls of the message, all of which must be allowed; empty without a protocol.
        unread: why the message has no certain meaning; None if it has a certain meaning.
        proxy: SPIFFE ID of the calling proxy, from its mTLS connection to this server, or "".
    """

    method: str
    host: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    principal: str = ""
    certificate: str = ""
    context: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, bytes], ...] = ()
    elsewhere: tuple[str, ...] = ()
    protocol: MessageProtocol = MessageProtocol.NONE
    calls: tuple[Call, ...] = ()
    unread: Unread | None = None
    proxy: str = ""

    def header(self, name: str) -> str | None:
        """Return the value of a header by its lower-case name; None if it was not sent."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def context_value(self, name: str) -> str:
        """Return the operator's context extension of that name; "" if there is none."""
        for key, value in self.context:
            if key == name:
                return value
        return ""


class Operation(msgspec.Struct, frozen=True, gc=False):
    """The operation that a request asks for, in the canonical form that rules match.

    Attributes:
        method: upper case.
        host: lower case, without a port.
        path: decoded segments, without the leading slash: ``/a/b/`` is ``("a", "b", "")``.
        ambiguities: forms in the path that a route must accept; nearly always none.
        protocol: as in Request.
        call: one of the message's calls; None if no message is read.
    """

    method: str
    host: str
    path: Segments
    ambiguities: Forms = frozenset()
    protocol: MessageProtocol = MessageProtocol.NONE
    call: Call | None = None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return the request's operation, with the first call of its message.

        Raises Denied(PATH_AMBIGUOUS) if the method, the host or the path has no sane reading.
        """
        check_method(request.method)
        return cls.at(request, canonical_host(request.host), *read_path(request.path))

    @classmethod
    def at(cls, request: Request, host: str, path: Segments, ambiguities: Forms) -> Self:
        """Return the same as ``of``, from a target that has been read already."""
        call = request.calls[0] if request.calls else None
        return cls(request.method, host, path, ambiguities, request.protocol, call)

    def each(self, request: Request) -> "tuple[Operation, ...]":
        """Return an operation for each of the request's calls; itself if there are not several."""
        if len(request.calls) <= 1:
            return (self,)
        return tuple(msgspec.structs.replace(self, call=call) for call in request.calls)


def credentials_elsewhere(query: str, cookie: str) -> tuple[str, ...]:
    """Return the places other than a header that hold a credential: "query", "cookie"."""
    found: list[str] = []
    if (_QUERY_TOKEN in query or "%" in query) and _QUERY_PAIR.search(f"&{query}&"):
        found.append("query")
    lower = cookie.lower()
    # Envoy joins repeated Cookie headers of HTTP/1 with a comma.
    if _COOKIE_TOKEN in lower and _COOKIE_PAIR.search(f";{lower.replace(',', ';')};"):
        found.append("cookie")
    return tuple(found)


def check_method(method: str) -> None:
    """Check that a method is an upper-case token. Raises Denied(PATH_AMBIGUOUS)."""
    if method not in _USUAL_METHODS and not _METHOD.fullmatch(method):
        raise Denied(Reason.PATH_AMBIGUOUS, "the method is not an upper-case token")


@lru_cache(_HOSTS)
def canonical_host(host: str) -> str:
    """Return a host in lower case, without its port. Raises Denied(PATH_AMBIGUOUS)."""
    if len(host) > MAX_HOST_BYTES:
        raise Denied(Reason.PATH_AMBIGUOUS, "the host is too long")
    match = _HOST.fullmatch(host.lower()) if host.isascii() else None
    if match is None or ".." in host:
        raise Denied(Reason.PATH_AMBIGUOUS, "the host is not a single plain name")
    return match["name"]
