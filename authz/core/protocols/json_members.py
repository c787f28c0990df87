"""Members of a JSON object, found as the laxest server finds them.

ProtoJSON reads ``task_id`` as ``taskId``, and Go's JSON reads ``TASKID`` so: a reader that looks
for a single spelling misses a task that the server finds. So a member is recognised by its letters
alone, and a member that occurs in two spellings is refused.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import compress
from typing import Any, Final

import msgspec

from authz.core.protocols.body import require_unmasked
from authz.core.protocols.message import MessageInput
from authz.core.reason import Denied, Reason
from authz.core.request import MAX_NAME_CHARS

# The limit for an object whose members a protocol names, which are some tens; each is examined
# separately. An object with an agent's own members, such as the arguments of a tool, may have more.
MAX_OWN_MEMBERS: Final = 512
_FEW: Final = 8  # with more members than these, all names are folded together
_BETWEEN: Final = "\n"  # folds to itself, and is not in any known name
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_decode: Final = msgspec.json.Decoder().decode
MemberNames = Mapping[str, str]


def names(*spellings: str) -> MemberNames:
    """Return the names that ``pick`` looks for: the caller's spelling of each, by its letters."""
    return {fold(spelling): spelling for spelling in spellings}


def pick(holder: object, wanted: MemberNames) -> dict[str, Any]:
    """Return the wanted members of an object. A null member is absent, a null object is empty.

    Raises Denied(MESSAGE_PARAMS) for a value that is not an object or has far more members than any
    protocol, and for a member in two spellings.
    """
    if holder is None:
        return {}
    if not isinstance(holder, dict):
        raise params_refused("an object is expected")
    if len(holder) > MAX_OWN_MEMBERS:
        raise params_refused(f"an object of the protocol has more than {MAX_OWN_MEMBERS} members")
    found: dict[str, Any] = {}
    members: Iterable[tuple[str, Any]] = holder.items()
    if len(holder) > _FEW:
        members = compress(members, map(wanted.__contains__, folded(holder)))
    for written, value in members:
        name = wanted.get(written) or wanted.get(fold(written))  # most are written as folded
        if name is None:
            continue
        if name in found:
            raise params_refused("a member is given in two spellings")
        found[name] = value
    # In the order of ``wanted``: the result is the same however the JSON is ordered.
    order = [name for name in wanted.values() if name in found] if len(found) > 1 else found
    return {name: found[name] for name in order if found[name] is not None}


def require_only(holder: object, known: MemberNames) -> None:
    """Refuse an object that has further members. Raises Denied(MESSAGE_PARAMS)."""
    if not isinstance(holder, dict) or not known.keys() >= set(folded(holder)):
        raise params_refused("an object has unknown members")


def target_name(sent: MessageInput, value: object) -> str:
    """Return a target's name: text on one line, not empty, printable.

    Raises Denied(MESSAGE_PARAMS | BODY_UNINSPECTABLE).
    """
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_CHARS:
        raise params_refused(f"a name is not text of 1 to {MAX_NAME_CHARS} characters")
    if not value.isprintable() or value != value.strip():
        raise params_refused("a name has characters that names must not have")
    require_unmasked(sent, value)
    return value


def listed(value: object, most: int) -> list[Any]:
    """Return the elements of a list that may be absent. Raises Denied(MESSAGE_PARAMS)."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > most:
        raise params_refused(f"a list of at most {most} elements is expected")
    return value


def as_json(members: Mapping[str, Any]) -> bytes:
    """Return JSON that is equal for equal values, as it becomes a part of the cache's key."""
    return _encode(members)


def require_distinct(data: bytes) -> None:
    """Refuse members of an object that differ in case alone, as some readers treat them as one.

    ``data`` is as ``as_json`` writes it. Folded as a whole, it is JSON of the same shape; if
    that loses a member, two names were the same. Raises Denied(MESSAGE_PARAMS).
    """
    folded = data.decode().casefold().encode()
    if _encode(_decode(folded)).count(b":") != folded.count(b":"):
        raise params_refused("two members differ only in case")


def distinct(values: Iterable[str]) -> tuple[str, ...]:
    """Return each value once, in the order of the first occurrences."""
    return tuple(dict.fromkeys(values))


def params_refused(detail: str) -> Denied:
    """Build the refusal of parameters, Denied(MESSAGE_PARAMS)."""
    return Denied(Reason.MESSAGE_PARAMS, detail)


def fold(name: str) -> str:
    """Return the letters by which a member's name is known."""
    return name.replace("_", "").casefold()  # also of the letters that Go folds to ASCII


def folded(members: Collection[str]) -> list[str]:
    """Fold each name, in order. All are folded together, as there may be thousands."""
    found = fold(_BETWEEN.join(members)).split(_BETWEEN)
    return found if len(found) == len(members) else list(map(fold, members))
