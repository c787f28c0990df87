"""The input and the result of reading a message, which all protocols here share."""

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
        method: the HTTP method.
        path: without the query.
        headers: those of ``HEADERS`` that were sent; a header's occurrences are joined with ",".
        body: as far as the proxy sent it.
        is_text: whether the body came as text, in which the proxy masked bytes that are not UTF-8.
        size: the body's size as the proxy counted it, -1 when the proxy says that it is cut.
        max_bytes: the proxy's limit of bodies, which a cut body may fill exactly; None if unknown.
        metadata: the serialised Struct of Envoy's MCP filter, where it is trusted; else None.
        trusts_headers: whether MCP headers suffice if the version has servers compare them.
        reads_arguments: tells whether any decision reads the arguments of a call.
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
        """Return the header of this lower-case name, None when it was not sent.

        White space around a field's value is not part of it (RFC 9110 section 5.5), so the compared
        text is the one that every server sees.
        """
        value = self.headers.get(name)
        return None if value is None else value.strip(OWS)


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message, understood or not.

    Attributes:
        calls: what it asks for; empty only when ``unread`` is set.
        ids: JSON of the ids of its JSON-RPC requests, for answers; a batch may have several.
        unread: the reason why it has no certain meaning; None if it was understood.
    """

    calls: tuple[Call, ...]
    ids: tuple[bytes, ...] = ()
    unread: Unread | None = None
