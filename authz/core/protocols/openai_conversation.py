"""Tools that a model call offers within its conversation, not among its tools.

OpenAI's items ``additional_tools`` and ``tool_search_output`` have a list of tools, Anthropic's
block ``tool_addition`` the definition of a tool. The model may use them from there on, as if they
were among the tools. Any object with such a member counts, as new types of items appear each year.
"""

from collections.abc import Iterator
from itertools import compress, repeat
from operator import contains
from typing import Any, Final

from authz.core.protocols.json_members import folded, listed, names, params_refused, pick

MAX_SPELLINGS: Final = 8  # of "tools" and "tool" in one call: each is searched for separately
CONVERSATION: Final = names("input", "messages")
_HOLDER: Final = names("type", "tools", "tool")
_ADDITION: Final = names("definition")
_OFFERS: Final = frozenset({"tools", "tool"})
# Items that list the tools of a server that is among the tools: they offer nothing new.
_LISTINGS: Final = frozenset({"mcp_list_tools", "mcp_tool_listing"})


def tools_within(asked: dict[str, Any], most: int) -> Iterator[Any]:
    """Yield the tools of the items, and of the parts of messages. Raises Denied(MESSAGE_PARAMS)."""
    said = [asked[name] for name in CONVERSATION.values() if name in asked]
    items = _objects(said)
    members = [value for item in items for value in item.values()]
    for holder in _holders(items + _objects(members), most):
        held = pick(holder, _HOLDER)
        if held.get("type") in _LISTINGS:
            continue
        yield from listed(held.get("tools"), most)
        if isinstance(held.get("tool"), dict):
            yield from pick(held["tool"], _ADDITION).values()


def _objects(values: list[Any]) -> list[dict[str, Any]]:
    """Return the objects in the values that are lists."""
    lists = [value for value in values if type(value) is list]
    return [item for items in lists for item in items if type(item) is dict]


def _holders(objects: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return the objects that may have tools; found in C, as a conversation has thousands."""
    none: set[str] = set()
    written = list(none.union(*objects))
    spellings = list(compress(written, map(_OFFERS.__contains__, folded(written))))
    if not spellings:
        return []
    if len(spellings) > MAX_SPELLINGS:
        raise params_refused("a member is written in many ways")
    found: list[dict[str, Any]] = []
    for name in spellings:
        found += compress(objects, map(contains, objects, repeat(name)))
    if len(found) > most:
        raise params_refused(f"more than {most} objects of a conversation have tools")
    return found
