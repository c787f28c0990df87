"""Our copy of agentgateway's MCP guardrails API against the published one, field by field.

No package holds the original, so its facts stand here: crates/protos/proto/ext_mcp.proto of the
repository agentgateway/agentgateway, as of commit 75b4e6ce6e0e1ac7959d5548ebe8dbeaede4f180
(2026-08-21). Where our type differs on purpose it stands in ``OTHER_TYPES``, and only there.
"""

from pathlib import Path
from typing import Final

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from authz._pb import ext_mcp_pb2 as pb
from authz.edge.methods import methods_of
from authz.edge.settings import ServerSettings
from authz.transports.opening import open_transport
from authz.transports.transport import TransportParts
from support.world import World

# message: {number: (name, type, cardinality, oneof)}; a message's or enum's type is its name.
PUBLISHED: Final[dict[str, dict[int, tuple[str, str, str, str]]]] = {
    "McpRequest": {
        1: ("service_names", "string", "repeated", ""),
        2: ("method", "string", "", ""),
        3: ("metadata_context", "google.protobuf.Struct", "", ""),
        4: ("mcp_request", "bytes", "optional", ""),
        5: ("headers", "McpHeader", "repeated", ""),
    },
    "McpResponse": {
        1: ("service_names", "string", "repeated", ""),
        2: ("method", "string", "", ""),
        3: ("metadata_context", "google.protobuf.Struct", "", ""),
        4: ("mcp_response", "bytes", "", ""),
    },
    "McpRequestResult": {
        1: ("pass", "Pass", "", "result"),
        2: ("mutated", "bytes", "", "result"),
        3: ("error", "AuthorizationError", "", "result"),
        4: ("header_mutation", "HeaderMutation", "", ""),
        5: ("metadata", "google.protobuf.Struct", "", ""),
    },
    "McpResponseResult": {
        1: ("pass", "Pass", "", "result"),
        2: ("mutated", "bytes", "", "result"),
        3: ("error", "AuthorizationError", "", "result"),
    },
    "HeaderMutation": {
        1: ("set", "McpHeader", "repeated", ""),
        2: ("remove", "string", "repeated", ""),
    },
    "McpHeader": {1: ("key", "string", "", ""), 2: ("value", "bytes", "", "")},
    "Pass": {},
    "AuthorizationError": {
        1: ("code", "AuthorizationError.Code", "", ""),
        2: ("reason", "string", "", ""),
        3: ("mcp_error", "bytes", "optional", ""),
    },
}
PUBLISHED_CODES: Final = {
    "UNKNOWN": 0,
    "PERMISSION_DENIED": 1,
    "RESOURCE_EXHAUSTED": 2,
    "INVALID": 3,
}
PUBLISHED_SERVICE: Final = "agentgateway.dev.ext_mcp.ExtMcp"
PUBLISHED_METHODS: Final = {
    "CheckRequest": ("McpRequest", "McpRequestResult"),
    "CheckResponse": ("McpResponse", "McpResponseResult"),
}
_RESULTS: Final = {
    "McpRequestResult": pb.McpRequestResult.FromString,
    "McpResponseResult": pb.McpResponseResult.FromString,
}
# Bytes here, string there: the same on the wire, and no text of a client's fails our parse.
OTHER_TYPES: Final = {
    "McpRequest.service_names",
    "McpRequest.method",
    "McpResponse.service_names",
    "McpResponse.method",
}
_SCALARS: Final = {FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_BYTES: "bytes"}


def _type(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    return kind.full_name.removeprefix("authz.ext_mcp.") if kind else _SCALARS[field.type]


def _facts(field: FieldDescriptor) -> tuple[str, str, str, str]:
    oneof = field.containing_oneof
    is_optional = oneof is not None and oneof.name == f"_{field.name}"  # proto3's own oneof of one
    return (
        field.name,
        _type(field),
        "repeated" if field.is_repeated else "optional" if is_optional else "",
        oneof.name if oneof is not None and not is_optional else "",
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_message_is_as_published(name: str) -> None:
    """A message has the published fields and no other: number, name, type, cardinality, oneof."""
    ours = {
        field.number: _facts(field) for field in pb.DESCRIPTOR.message_types_by_name[name].fields
    }
    expected = {
        number: (
            field,
            "bytes" if f"{name}.{field}" in OTHER_TYPES and kind == "string" else kind,
            *rest,
        )
        for number, (field, kind, *rest) in PUBLISHED[name].items()
    }

    assert ours == expected


def test_every_message_is_listed() -> None:
    """The table names every message of ours, and the error's codes are the published ones."""
    assert set(pb.DESCRIPTOR.message_types_by_name) == set(PUBLISHED)
    assert dict(pb.AuthorizationError.Code.items()) == PUBLISHED_CODES


def test_service_is_the_published_one(shared_world: World, tmp_path: Path) -> None:
    """The server answers under the published names, each method with its own message."""
    settings = ServerSettings(listen=(f"unix:{tmp_path}/authz.sock",))
    parts = shared_world.parts
    served = methods_of(parts.service)
    transport = open_transport(TransportParts(settings, served, None, parts.metrics, parts.pool))
    transport.start()
    try:
        with grpc.insecure_channel(transport.addresses[0]) as channel:
            for method, (_, result) in PUBLISHED_METHODS.items():
                ask = channel.unary_unary(f"/{PUBLISHED_SERVICE}/{method}", bytes, _RESULTS[result])
                assert ask(b"", timeout=60).WhichOneof("result") == "error"
            other = channel.unary_unary(f"/{PUBLISHED_SERVICE}/Check", bytes, bytes)
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                other(b"", timeout=60)
    finally:
        transport.stop(0)
