"""Operations as evidence of use, with a path pattern that has ``{id}`` for each ID."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from authz.core.patterns import path_pattern
from authz.core.policy.query import PolicyQuery
from authz.core.request import Call, MessageProtocol
from authz.review.call_usage import nameable

# A segment that is an ID: a number, a UUID, a digest or another long hexadecimal.
ID: Final = re.compile(
    r"[0-9]+|[0-9A-Fa-f]{16,}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)
ID_TEXT: Final = "{id}"


@dataclass(frozen=True, slots=True)
class UsedOperation:
    """An operation whose path is a pattern, as in rules, with ``{id}`` for each ID."""

    host: str
    method: str
    path: str
    protocol: MessageProtocol = MessageProtocol.NONE
    call: Call | None = None

    @classmethod
    def of(cls, case: PolicyQuery) -> "UsedOperation":
        """Make the operation of a question. Raises ValueError if no rule can name it."""
        operation = case.operation
        path = generalised(operation.path)
        path_pattern(path)
        call = None if operation.call is None else nameable(operation.call)
        return cls(operation.host, operation.method, path, operation.protocol, call)


def generalised(segments: Sequence[str]) -> str:
    """Return the path pattern of these segments, with ``{id}`` for segments that look like IDs."""
    return _written(ID_TEXT if ID.fullmatch(text) else quote(text, "") for text in segments)


def exact(segments: Sequence[str]) -> str:
    """Return the path pattern that only these segments match. Raises ValueError if none does."""
    path = _written(quote(text, "") for text in segments)
    path_pattern(path)
    return path


def joined(path: str, other: str) -> str:
    """Return the pattern of two exact paths that differ in IDs: ``{id}`` where they differ."""
    pairs = zip(path[1:].split("/"), other[1:].split("/"), strict=True)
    return _written(one if one == two else ID_TEXT for one, two in pairs)


def _written(segments: Iterable[str]) -> str:
    return "/" + "/".join(segments)
