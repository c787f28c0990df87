"""Our protobuf against the published one: the same names, numbers and forms, field by field.

``authz.ext_authz`` is a trimmed copy of Envoy's API; xds-protos holds the original. Where a type
differs on purpose it stands in ``OTHER_TYPES``, and only there. ``authz.cel_ast`` is a trimmed copy
of CEL's syntax tree, which xds-protos holds too.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from authz._pb import cel_ast_pb2
from authz._pb import ext_authz_pb2 as pb
from authz.edge.methods import AUTHORIZATION
from support.published import base_pb2, checked_pb2
from support.published import external_auth_pb2 as published

ROOT: Final = Path(__file__).parents[2]
_AUTH: Final = "envoy.service.auth.v3."
_CORE: Final = "envoy.config.core.v3."

PUBLISHED: Final = {
    "CheckRequest": _AUTH + "CheckRequest",
    "AttributeContext": _AUTH + "AttributeContext",
    "Peer": _AUTH + "AttributeContext.Peer",
    "Address": _CORE + "Address",
    "SocketAddress": _CORE + "SocketAddress",
    "Pipe": _CORE + "Pipe",
    "TLSSession": _AUTH + "AttributeContext.TLSSession",
    "Request": _AUTH + "AttributeContext.Request",
    "HttpRequest": _AUTH + "AttributeContext.HttpRequest",
    "Metadata": _CORE + "Metadata",
    "HeaderMap": _CORE + "HeaderMap",
    "HeaderValue": _CORE + "HeaderValue",
    "HeaderValueOption": _CORE + "HeaderValueOption",
    "Status": "google.rpc.Status",
    "HttpStatus": "envoy.type.v3.HttpStatus",
    "DeniedHttpResponse": _AUTH + "DeniedHttpResponse",
    "OkHttpResponse": _AUTH + "OkHttpResponse",
    "CheckResponse": _AUTH + "CheckResponse",
}

# Our type, and the published one that has the same form on the wire.
OTHER_TYPES: Final = {
    "Metadata.FilterMetadataEntry.value": (
        FieldDescriptor.TYPE_BYTES,
        FieldDescriptor.TYPE_MESSAGE,
    ),
    "TLSSession.sni": (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING),
    "HttpStatus.code": (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM),
}

_FIELDS: Final = [
    (message, field)
    for message in pb.DESCRIPTOR.message_types_by_name.values()
    for field in message.fields
]


def _counterpart(name: str) -> Descriptor:
    return descriptor_pool.Default().FindMessageTypeByName(PUBLISHED[name])


def _form(field: FieldDescriptor) -> tuple[object, ...]:
    """Everything about a field that shows on the wire or in how it is read, but its type."""
    oneof = field.containing_oneof
    return (
        field.name,
        field.number,
        field.is_repeated,
        field.is_packed,
        oneof.name if oneof else None,
    )


def _assert_same(ours: FieldDescriptor, theirs: FieldDescriptor, name: str) -> None:
    assert _form(theirs) == _form(ours)
    assert OTHER_TYPES.get(name, (theirs.type, theirs.type)) == (ours.type, theirs.type)


def _is_map(message: Descriptor) -> bool:
    return bool(message.GetOptions().map_entry)


def test_every_message_has_a_counterpart() -> None:
    """The mapping names every message of ours and no other."""
    assert set(PUBLISHED) == set(pb.DESCRIPTOR.message_types_by_name)


@pytest.mark.parametrize(("message", "field"), _FIELDS, ids=[f.full_name for _, f in _FIELDS])
def test_field_is_as_published(message: Descriptor, field: FieldDescriptor) -> None:
    """A field has the published name, number, label, oneof and type."""
    theirs = _counterpart(message.name).fields_by_number[field.number]

    _assert_same(field, theirs, f"{message.name}.{field.name}")


@pytest.mark.parametrize(
    ("message", "field", "ours"),
    [(m, f, f.message_type) for m, f in _FIELDS if f.message_type],
    ids=[f.full_name for _, f in _FIELDS if f.message_type],
)
def test_message_field_leads_to_the_counterpart(
    message: Descriptor, field: FieldDescriptor, ours: Descriptor
) -> None:
    """A field that holds a message holds the counterpart of the published one's."""
    theirs = _counterpart(message.name).fields_by_number[field.number].message_type
    assert theirs is not None
    assert _is_map(theirs) == _is_map(ours)

    if _is_map(ours):
        for part in ("key", "value"):
            name = f"{message.name}.{ours.name}.{part}"
            _assert_same(ours.fields_by_name[part], theirs.fields_by_name[part], name)
    else:
        is_own = ours.file.name == pb.DESCRIPTOR.name
        assert theirs.full_name == (PUBLISHED[ours.name] if is_own else ours.full_name)


def test_every_other_type_is_still_one() -> None:
    """An entry of the list of differing types that no field of ours needs is a mistake."""
    fields = {f"{message.name}.{field.name}" for message, field in _FIELDS}
    values = {
        f"{message.name}.{entry.name}.value"
        for message, field in _FIELDS
        if (entry := field.message_type) is not None and _is_map(entry)
    }

    assert set(OTHER_TYPES) <= fields | values


def _all_messages(messages: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from _all_messages(message.nested_types)


_AST = [
    (message, field)
    for message in _all_messages(cel_ast_pb2.DESCRIPTOR.message_types_by_name.values())
    for field in message.fields
]


@pytest.mark.parametrize(("message", "field"), _AST, ids=[field.full_name for _, field in _AST])
def test_syntax_tree_is_as_published(message: Descriptor, field: FieldDescriptor) -> None:
    """A field of CEL's syntax tree has the published name, number, oneof and type."""
    name = message.full_name.replace("authz.cel_ast.", "cel.expr.")
    theirs = checked_pb2.DESCRIPTOR.pool.FindMessageTypeByName(name).fields_by_number[field.number]

    _assert_same(field, theirs, name)
    if field.message_type:
        expected = field.message_type.full_name.replace("authz.cel_ast.", "cel.expr.")
        assert theirs.message_type.full_name == expected


def test_append_actions_are_the_published_ones() -> None:
    """The members of our only enum have the published names and numbers."""
    ours = pb.HeaderValueOption.HeaderAppendAction.items()

    assert base_pb2.HeaderValueOption.HeaderAppendAction.items() == ours


def test_append_can_not_be_written() -> None:
    """``append`` keeps what the client sent in the header, so our copy has no such field."""
    theirs = _counterpart("HeaderValueOption").fields_by_name["append"]

    assert theirs.number not in pb.HeaderValueOption.DESCRIPTOR.fields_by_number


def test_service_is_the_published_one() -> None:
    """The server answers under the name and method that proxies call, with these messages."""
    check = published.DESCRIPTOR.services_by_name["Authorization"].methods_by_name["Check"]

    assert f"{AUTHORIZATION}.Check" == check.full_name
    assert check.input_type.full_name == PUBLISHED["CheckRequest"]
    assert check.output_type.full_name == PUBLISHED["CheckResponse"]


def test_generated_code_is_current() -> None:
    """What is checked in is what the source generates, byte for byte."""
    done = subprocess.run(
        [sys.executable, ROOT / "protos" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")
