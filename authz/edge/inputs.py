"""The parts of a request that decisions read, whichever proxy presents it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from authz.core.identity import ProfileSettings
from authz.core.protocols.message import HEADERS
from authz.core.reason import Reason
from authz.core.request import Call, Unread
from authz.core.routes import PROFILE, ROUTE, Route, Routes
from authz.core.upstream_token import UpstreamToken
from authz.edge.header_reader import NO_PREFIXES, HeaderReader, Prefixes

# Tokens and certificates in use within seconds: a value that was pushed out is only held twice.
# With the largest values that a proxy accepts, some 60 KiB, these take 60 MB.
_HELD: Final = 1024
COOKIE: Final = "cookie"
REQUEST_ID: Final = "x-request-id"
TRACE: Final = "traceparent"
# W3C Trace Context section 3.2.2, but for the values that it excludes, which a tracer refuses.
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
MAX_REQUEST_BYTES: Final = "authz_max_request_bytes"  # the context extension with that limit
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
# For a proxy that removes the token of every request itself.
STRIPPED: Final = Unread(
    Reason.EXCHANGE_UNAVAILABLE,
    "the gateway removes the token after this check, and so the exchanged token that its server"
    " would get: set upstream_token of the route to assert",
)
_NO_PROFILE: Final = ProfileSettings()
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class MessageInputs:
    """The parts of the config that decide how the messages of requests are read.

    Attributes:
        routes: give the protocol of a request's message.
        profile_of: returns a request's profile, by the name that the route gives and the proxy's
            SPIFFE ID.
        reads_arguments: tells whether decisions read the arguments of a call.
    """

    routes: Routes
    profile_of: Callable[[str, str], ProfileSettings] = lambda *_: _NO_PROFILE
    reads_arguments: Callable[[Call], bool] = lambda _: False

    def route_of(self, host: str, path: str, extensions: Mapping[str, str]) -> Route | None:
        """Return the request's route, if messages are read on it."""
        route = self.routes.of_raw(extensions.get(ROUTE, ""), host, path)
        return route if route.protocol else None

    def profile(self, extensions: Mapping[str, str], proxy: str) -> ProfileSettings:
        """Return the request's profile, which says what is trusted about its message."""
        return self.profile_of(extensions.get(PROFILE, ""), proxy)

    def exchanges(self, route: Route, proxy: str) -> bool:
        """Tell whether the upstream gets an exchanged token, in the header of the client's."""
        upstream = route.upstream
        of_route = upstream is not None and upstream.gets is UpstreamToken.EXCHANGE
        return of_route and self.profile({}, proxy).upstream_token is None


def filter_metadata(profile: ProfileSettings, metadata: Mapping[str, bytes]) -> bytes | None:
    """Return the metadata of the proxy's MCP filter, None if the filter is not trusted."""
    namespace = profile.mcp_metadata
    return metadata[namespace] if namespace and namespace in metadata else None


def limit_of_bodies(profile: ProfileSettings, extensions: Mapping[str, str]) -> int | None:
    """Return the proxy's limit of bodies in bytes, None if nothing says it.

    What the proxy says itself counts before the profile. A malformed limit is 0: no body fits.
    """
    text = extensions.get(MAX_REQUEST_BYTES, "")
    if not text:
        return profile.max_request_bytes
    return int(text) if _NUMBER.fullmatch(text) else 0


class RequestInputs:
    """The headers, metadata and messages that decisions read.

    Attributes:
        decisive: lower-case names of the headers that a Request has, in its order.
        namespaces: of the metadata that the proxy's own config writes.
        messages: how messages are read; None if no message is read.
        headers: reads the headers of a request whose message is not read.
        message_headers: reads the headers of a request whose message is read.
    """

    def __init__(
        self,
        headers: frozenset[str],
        namespaces: tuple[str, ...] = (),
        messages: MessageInputs | None = None,
        given: frozenset[str] = frozenset(),
        prefixes: Prefixes = NO_PREFIXES,
    ) -> None:
        """Take the lower-case names of headers that decisions read.

        ``given`` are those of the headers that answers set or remove in the upstream's request.
        Of other headers, those whose names begin with one of ``prefixes`` are removed as well.
        """
        self.namespaces = namespaces
        self.messages = messages
        self.decisive = tuple(sorted(headers))
        names = headers | {COOKIE, REQUEST_ID, TRACE}
        guarded = headers | given
        self.headers = HeaderReader(names, guarded, prefixes)
        self.message_headers = HeaderReader(names | HEADERS, guarded | HEADERS, prefixes)

    def metadata(self, sent: Mapping[str, bytes]) -> tuple[tuple[str, bytes], ...]:
        """Return the parts of the metadata that go into a Request."""
        return tuple([(name, sent[name]) for name in self.namespaces if name in sent])


def valid_traceparent(text: str) -> str:
    """Return the text if it has the form of a W3C ``traceparent``, else ""."""
    return text if _TRACEPARENT.fullmatch(text) else ""


@lru_cache(_HELD)
def held(value: _Value) -> _Value:
    """Return the value as one object that requests share: it is hashed once and kept once.

    Not ``sys.intern``: in Python 3.12 that keeps a text for ever.
    """
    return value
