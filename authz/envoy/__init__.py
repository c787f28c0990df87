"""Envoy's protobuf on one side, our Request and Decision on the other: only here are both."""

from authz.envoy.reader import Inputs, Reader, attempt_of
from authz.envoy.writer import (
    REALM,
    Answer,
    HeaderSettings,
    Writer,
    challenge_for,
    escaped,
    owned_headers,
)

__all__ = [
    "REALM",
    "Answer",
    "HeaderSettings",
    "Inputs",
    "Reader",
    "Writer",
    "attempt_of",
    "challenge_for",
    "escaped",
    "owned_headers",
]
