"""Tools that a model call brings in the midst of its conversation, not among its tools.

OpenAI's items ``additional_tools`` and ``tool_search_output`` have a list of them, Anthropic's
block ``tool_addition`` a definition of one. The model may use them from there on, as if they stood
among the tools. Whatever has such a member counts, as types of items become more each year.
"""

from collections.abc import Iterator
from itertools import compress, repeat
from operator import contains
from typing import Any, Final

from authz.core.protocols.json_members import folded, listed, names, params_refused, pick

MAX_SPELLINGS: Final = 8  # of "tools" and "tool" in one call: each is looked for by itself
CONVERSATION: Final = names("input", "messages")
_HOLDER: Final = names("type", "tools", "tool")
_ADDITION: Final = names("definition")
_OFFERS: Final = frozenset({"tools", "tool"})
# What a server has that stands among the tools, told again: it offers nothing by itself.
_LISTINGS: Final = frozenset({"mcp_list_tools", "mcp_tool_listing"})


def tools_within(asked: dict[str, Any], most: int) -> Iterator[Any]:
    """Yield the tools of the items, and of the parts of messages. Raises Denied(MESSAGE_PARAMS)."""
    said = [asked[name] for name in CONVERSATION.values() if name in asked]
    items = _objects(said)
    members = [value for item in items for value in item.values()]
    for one in _holders(items + _objects(members), most):
        held = pick(one, _HOLDER)
        if held.get("type") in _LISTINGS:
            continue
        yield from listed(held.get("tools"), most)
        if isinstance(held.get("tool"), dict):
            yield from pick(held["tool"], _ADDITION).values()


def _objects(values: list[Any]) -> list[dict[str, Any]]:
    """The objects in those of the values that are lists."""
    return [one for value in values if type(value) is list for one in value if type(one) is dict]


def _holders(objects: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Those that may have tools; found in C, as a conversation has thousands of objects."""
    none: set[str] = set()
    written = list(none.union(*objects))
    spellings = list(compress(written, map(_OFFERS.__contains__, folded(written))))
    if not spellings:
        return []
    if len(spellings) > MAX_SPELLINGS:
        raise params_refused("a member is written in many ways")
    found = [
        one for name in spellings for one in compress(objects, map(contains, objects, repeat(name)))
    ]
    if len(found) > most:
        raise params_refused(f"more than {most} objects of a conversation have tools")
    return found
