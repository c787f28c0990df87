"""Reads the dynamic metadata in which Envoy's own MCP filter describes a body.

The filter reads less strictly than this server: by default it keeps the last of two members of the
same name, stops when it has found its members, and skips lists. So a profile says whether it is
trusted, and if the body is sent, the body is read instead.
"""

from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from authz.core.protocols import jsonrpc
from authz.core.protocols.jsonrpc import JsonRpcMessage
from authz.core.protocols.mcp_methods import MEMBERS
from authz.core.reason import Denied, Reason

MAX_METADATA_BYTES: Final = 64 * 1024  # the filter keeps a method, an id and one or two names
MAX_SAFE_INTEGER: Final = 2**53 - 1  # ids are doubles there: beyond this, two ids look the same
_RESPONSE: Final = "__jsonrpc_response"  # the filter's name for a message without a method
_NAMES: Final = (*MEMBERS, "type")


def message(metadata: bytes) -> JsonRpcMessage:
    """Return the message that the filter found; of its params only the members that name targets.

    Raises Denied: BODY_UNINSPECTABLE when it found no message, BODY_TRUNCATED when it read only a
    part of the body, MESSAGE_INVALID for an invalid method.
    """
    fields = _struct(metadata).fields
    if "is_exceeding_limit" in fields:
        raise Denied(Reason.BODY_TRUNCATED, "the proxy's filter read a part of the body only")
    if "is_mcp_request" in fields and fields["is_mcp_request"].bool_value is not True:
        raise Denied(Reason.BODY_UNINSPECTABLE, "the proxy's filter found no MCP message")
    # It let through a message that it can refuse, such as one that is not only JSON.
    if "passthrough_reason" in fields:
        raise Denied(Reason.BODY_UNINSPECTABLE, "the proxy's filter let through what it can't read")
    if "method" not in fields:
        raise Denied(Reason.BODY_UNINSPECTABLE, "the proxy's filter found no method")
    method = jsonrpc.method_name(_string_field(fields["method"]))
    if method == _RESPONSE:
        return JsonRpcMessage("", {}, b"")
    params = fields["params"].struct_value if "params" in fields else Struct()
    return JsonRpcMessage(method, _params(params), _id(fields["id"]) if "id" in fields else b"")


def _struct(data: bytes) -> Struct:
    if len(data) > MAX_METADATA_BYTES:
        raise Denied(Reason.BODY_UNINSPECTABLE, "the metadata is too large")
    try:
        return Struct.FromString(data)
    except DecodeError:
        raise Denied(Reason.BODY_UNINSPECTABLE, "the metadata is not a Struct") from None


def _params(params: Struct) -> dict[str, Any]:
    fields = params.fields
    found: dict[str, Any] = {name: _string_field(fields[name]) for name in _NAMES if name in fields}
    if "ref" in fields:
        found["ref"] = _params(fields["ref"].struct_value)
    return found


def _string_field(value: Value) -> str | None:
    return value.string_value if value.HasField("string_value") else None


def _id(value: Value) -> bytes:
    """Return the id's JSON, b"" if the double may differ from the client's number."""
    number = value.number_value
    if value.HasField("number_value"):
        is_exact = abs(number) <= MAX_SAFE_INTEGER and number == int(number)
        return jsonrpc.encode_id(int(number)) if is_exact else b""
    return jsonrpc.encode_id(_string_field(value))
