"""Cache entries: the record's operation is the same, whichever way it is encoded."""

import msgspec
import pytest

from authz.adapters.audit.records.record import AuditOperation, encode_operation
from authz.core.paths import MAX_PATH_BYTES
from authz.core.request import Call, CallKind, MessageProtocol, Request
from authz.core.routes import ROUTE
from authz.edge.entries import encoded_operation

ODD = ('"path":""', '\\"', "\x7f\u2028é", "x" * (2 * MAX_PATH_BYTES), "")


@pytest.mark.parametrize("text", ODD, ids=["a member", "escapes", "unsafe", "too long", "empty"])
def test_a_path_is_encoded_in_its_place(text: str) -> None:
    """A record without headers and calls is as if it were encoded as a whole, whatever was sent."""
    request = Request(text, text, text, context=((ROUTE, text[:9]),), proxy=text[:9])
    whole = AuditOperation(text[:33], text[:260], text[:8193], text[:9], text[:9])
    assert encoded_operation(request, frozenset()) == encode_operation(whole)
    assert encoded_operation(request, frozenset()) == encode_operation(whole)


def test_calls_and_headers_are_encoded_as_a_whole() -> None:
    """A record has the request's calls and the headers that rules read."""
    request = Request("POST", "h", "/mcp", (("x", "1"), ("y", "2")), protocol=MessageProtocol.MCP)
    plain = AuditOperation("POST", "h", "/mcp", "", protocol=MessageProtocol.MCP)
    with_header = msgspec.structs.replace(plain, headers={"x": "1"})
    assert encoded_operation(request, frozenset({"x"})) == encode_operation(with_header)
    call = Call("tools/call", CallKind.TOOL, "search", is_known=True)
    calls = ({"method": "tools/call", "kind": "tool", "name": "search"},)
    assert encoded_operation(
        msgspec.structs.replace(request, calls=(call,)), frozenset()
    ) == encode_operation(msgspec.structs.replace(plain, calls=calls))
