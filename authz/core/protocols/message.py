"""What is read, and what comes of it: the words that all protocols here share."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from authz.core.request import Call, Unread

OWS: Final = " \t"  # optional white space (RFC 9110 section 5.6.3)
# Request headers that any protocol reads, by lower-case name.
HEADERS: Final = frozenset(
    {
        "content-type",
        "content-length",
        "content-encoding",
        "upgrade",
        "x-envoy-auth-partial-body",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "a2a-version",
    }
)


class MessageInput(msgspec.Struct, frozen=True, gc=False):
    """A request with its message, as the proxy presented it.

    Attributes:
        method: of HTTP.
        path: without the query.
        headers: those of ``HEADERS`` that were sent; occurrences of one are joined with ",".
        body: as far as the proxy sent it.
        is_text: whether it came as text, in which the proxy masked bytes that are no UTF-8.
        size: of the body as the proxy counted it, -1 when it says that it is cut.
        max_bytes: the proxy's limit of bodies, which one that is cut may just fill; None unknown.
        metadata: the serialised Struct of Envoy's MCP filter, where it is trusted; else None.
        trusts_headers: whether MCP headers alone are good where the version has servers compare.
        reads_arguments: whether any decision reads the arguments of this call.
        query: of the request's target, without the question mark.
        extra_members: further names that the operator knows to be harmless in a model call.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    is_text: bool = False
    size: int = 0
    max_bytes: int | None = None
    metadata: bytes | None = None
    trusts_headers: bool = False
    reads_arguments: Callable[[Call], bool] = lambda _: False
    query: str = ""
    extra_members: frozenset[str] = frozenset()

    def header(self, name: str) -> str | None:
        """Give a header of this lower-case name, None when it was not sent.

        White space around a field's value is no part of it (RFC 9110 section 5.5), so that what is
        compared here is what every server sees.
        """
        value = self.headers.get(name)
        return None if value is None else value.strip(OWS)


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message, understood or not.

    Attributes:
        calls: what it asks for; empty only when it is unread.
        ids: JSON of the ids of its JSON-RPC requests, for answers; of a batch each one's.
        unread: why it has no certain meaning.
    """

    calls: tuple[Call, ...]
    ids: tuple[bytes, ...] = ()
    unread: Unread | None = None
