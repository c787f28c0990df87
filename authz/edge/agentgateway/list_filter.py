"""Filters an MCP server's list of tools, resources or the like to the items that an agent may call.

A list that could be read in two ways is refused: the client might call an item other than the one
that was checked.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

from authz.core import strict_json
from authz.core.protocols.mcp_methods import ListKind
from authz.core.reason import Denied, Reason
from authz.core.request import MAX_URI_CHARS, Call, CallKind

MAX_LIST_BYTES: Final = 1024 * 1024  # some 20 ms to read; a tool with its schema has 1 KiB
MAX_VALUES: Final = 64 * 1024  # bytes that may begin a value: each value costs time and memory
MAX_ITEMS: Final = 1000  # each is decided, in some 100 us
MAX_DEPTH: Final = 32  # of the JSON schemas in lists of tools
_NAME_JOINT: Final = "_"  # agentgateway's separator between a target and its tool or prompt
_URI_JOINT: Final = "+"  # its separator between a target and its resource
_UI: Final = "ui://"  # in such a URI the target follows the scheme
_EXPRESSION: Final = re.compile(r"\{([+#./;?&]?)[A-Za-z0-9_.,%*:]+\}")  # RFC 6570 section 2


T = TypeVar("T")


class Item(NamedTuple):
    """One item of a list.

    Attributes:
        owner: the target that has the item; None if any of them may have it.
        call: the call that a client would make for the item.
    """

    owner: str | None
    call: Call


class ListResult:
    """The result of a list method, read."""

    def __init__(self, listed: ListKind, result: bytes, *, is_prefixed: bool) -> None:
        """Read a result that lists items of the kind ``listed``.

        ``is_prefixed`` says that names begin with the target's name. Raises
        Denied(BODY_UNINSPECTABLE | BODY_TRUNCATED).
        """
        self._member = listed.member
        self._result = _parsed(result)
        self._entries = _member(self._result, listed.member, list)
        if len(self._entries) > MAX_ITEMS:
            raise Denied(Reason.BODY_TRUNCATED, f"the list has more than {MAX_ITEMS} items")
        self._items = [_item(listed, entry, is_prefixed=is_prefixed) for entry in self._entries]

    def only(self, may: Callable[[Item], bool]) -> bytes | None:
        """Return the result with only the items that ``may`` accepts.

        None if it accepts all of them.
        """
        kept = [entry for entry, item in zip(self._entries, self._items, strict=True) if may(item)]
        if len(kept) == len(self._entries):
            return None
        result = self._result | {self._member: kept}
        return json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode()


def _parsed(result: bytes) -> dict[str, Any]:
    if len(result) > MAX_LIST_BYTES:
        raise Denied(Reason.BODY_TRUNCATED, f"the list is larger than {MAX_LIST_BYTES} bytes")
    if strict_json.values_at_most(result) > MAX_VALUES:
        raise Denied(Reason.BODY_TRUNCATED, f"the list may hold more than {MAX_VALUES} values")
    try:
        value = strict_json.loads(result, MAX_DEPTH)
    except strict_json.StrictJsonError as error:
        raise _odd(f"the list: {error}") from None
    if not isinstance(value, dict):
        raise _odd("the list's result is not an object")
    return value


def _member(value: object, name: str, kind: type[T]) -> T:
    """Return a member of this type. Raises Denied if another differs from it only in case."""
    if not isinstance(value, dict) or not isinstance(value.get(name), kind):
        raise _odd(f"the list has no {name} of the right kind")
    folded = name.casefold()
    if any(other != name and other.casefold() == folded for other in value):
        raise _odd(f"the list has another {name} in other case")
    return cast("T", value[name])


def _item(kind: ListKind, entry: object, *, is_prefixed: bool) -> Item:
    name = _member(entry, kind.name, str)
    if not 0 < len(name) <= MAX_URI_CHARS:
        raise _odd(f"the list has a {kind.name} that is empty or too long")
    owner, own = _owned(kind, name) if is_prefixed else (None, name)
    if kind.name == "uriTemplate":
        own = _EXPRESSION.sub(_example, own)
    return Item(owner, Call(kind.method, kind.kind, own))


def _example(expression: re.Match[str]) -> str:
    """Return a word in place of a template's expression, as a client may choose it."""
    return expression[1].replace("+", "") + "x"


def _owned(kind: ListKind, name: str) -> tuple[str, str]:
    """Return the target in a name, "" for a name without a target, and the item's name at it."""
    joint = _URI_JOINT if kind.kind is CallKind.RESOURCE else _NAME_JOINT
    scheme = _UI if kind.kind is CallKind.RESOURCE and name.startswith(_UI) else ""
    owner, _, own = name.removeprefix(scheme).partition(joint)
    return (owner, scheme + own) if own else ("", name)


def _odd(detail: str) -> Denied:
    return Denied(Reason.BODY_UNINSPECTABLE, detail)
