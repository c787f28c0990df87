"""Makes attributes of records and spans, by one version of the semantic conventions."""

from collections.abc import Mapping
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

# The version of the conventions that the names of attributes are from.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"


def attributes_of(values: Mapping[str, str | int]) -> list[KeyValue]:
    """Return the attributes that have a value: a text that is not empty, or a number but 0."""
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items() if value]


def _any(value: str | int) -> AnyValue:
    return AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
