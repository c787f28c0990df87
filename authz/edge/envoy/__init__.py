"""Envoy's protobuf on one side, our Request and Decision on the other: only here are both."""

from authz.edge.envoy.messages import MAX_REQUEST_BYTES, Messages
from authz.edge.envoy.reader import Inputs, Reader, Reading, attempt_of
from authz.edge.envoy.writer import (
    REALM,
    Answer,
    HeaderSettings,
    Writer,
    challenge_for,
    escaped,
    owned_headers,
)

__all__ = [
    "MAX_REQUEST_BYTES",
    "REALM",
    "Answer",
    "HeaderSettings",
    "Inputs",
    "Messages",
    "Reader",
    "Reading",
    "Writer",
    "attempt_of",
    "challenge_for",
    "escaped",
    "owned_headers",
]
