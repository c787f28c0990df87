"""The JSON-RPC method of a request's body, where there is no doubt about it.

Only for requests without a token (a route's ``bootstrap``). Whatever is in doubt has no method, and
is then a request without a token like any other: the body may be cut, as two ways in which a proxy
sends a part of a body look like the whole of one; or another reader may find another method in it.
"""

from collections.abc import Mapping
from typing import Final

from authz import strictjson

MAX_BODY_BYTES: Final = 64 * 1024  # of initialize, ping and the lists: real ones have 200 bytes
HEADERS: Final = (
    "content-type",
    "content-length",
    "content-encoding",
    "x-envoy-auth-partial-body",
    "mcp-method",
)


def method_of(http_method: str, headers: Mapping[str, str], body: bytes) -> str:
    """The method, "" when it is not certain. ``headers`` by lower-case name, joined with ","."""
    if http_method != "POST" or not 0 < len(body) <= MAX_BODY_BYTES:
        return ""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return ""
    if "content-encoding" in headers or headers.get("x-envoy-auth-partial-body") == "true":
        return ""
    # A body of just the proxy's limit looks whole; so its announced length must be what we see.
    if headers.get("content-length") != str(len(body)):
        return ""
    method = _method(body)
    return method if headers.get("mcp-method", method) == method else ""


def _method(body: bytes) -> str:
    try:
        message = strictjson.loads(body)
    except strictjson.StrictJsonError:
        return ""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return ""  # a batch too: it could hold anything
    method = message.get("method")
    return method if isinstance(method, str) else ""
