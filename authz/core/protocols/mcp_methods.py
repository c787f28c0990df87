"""Methods of MCP, of all its revisions: one table of what clients ask of servers.

The reader of requests, the methods that rules include, the list results to filter and the names
that a header mirrors are all derived from it: a method is known everywhere or nowhere. Requests
that servers send to clients are not in the table.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz.core.request import CallKind

NOTIFICATION: Final = "notifications/"  # prefix of notifications, known or not
INITIALIZE: Final = "initialize"
COMPLETE: Final = "completion/complete"
LISTEN: Final = "subscriptions/listen"
PING: Final = "ping"


class ListKind(msgspec.Struct, frozen=True):
    """The items that a result lists.

    Attributes:
        kind: of its items, as targets of calls.
        member: the result's member that holds the list.
        name: the item's member that holds the name by which clients call it.
        method: the method by which clients call it.
    """

    kind: CallKind
    member: str
    name: str
    method: str


class McpMethod(msgspec.Struct, frozen=True):
    """One method.

    Attributes:
        kind: of the target that its params name; SERVER if no member names it.
        member: the member of the params that names the target.
        listed: the items that its result lists; None where the result passes as it is.
        is_of_session: whether any session needs it: a rule of any kind includes it.
        is_mirrored: whether servers compare the target's name with the header ``Mcp-Name``.
        has_other_targets: whether its params name targets other than by a member.
    """

    kind: CallKind = CallKind.SERVER
    member: str = ""
    listed: ListKind | None = None
    is_of_session: bool = False
    is_mirrored: bool = False
    has_other_targets: bool = False


METHODS: Final[Mapping[str, McpMethod]] = {
    INITIALIZE: McpMethod(is_of_session=True),
    PING: McpMethod(is_of_session=True),
    "server/discover": McpMethod(is_of_session=True),
    LISTEN: McpMethod(is_of_session=True, has_other_targets=True),
    "logging/setLevel": McpMethod(),
    COMPLETE: McpMethod(has_other_targets=True),
    "tools/list": McpMethod(listed=ListKind(CallKind.TOOL, "tools", "name", "tools/call")),
    "tools/call": McpMethod(CallKind.TOOL, "name", is_mirrored=True),
    "resources/list": McpMethod(
        listed=ListKind(CallKind.RESOURCE, "resources", "uri", "resources/read")
    ),
    "resources/templates/list": McpMethod(
        listed=ListKind(CallKind.RESOURCE, "resourceTemplates", "uriTemplate", "resources/read")
    ),
    "resources/read": McpMethod(CallKind.RESOURCE, "uri", is_mirrored=True),
    "resources/subscribe": McpMethod(CallKind.RESOURCE, "uri"),
    "resources/unsubscribe": McpMethod(CallKind.RESOURCE, "uri"),
    "prompts/list": McpMethod(listed=ListKind(CallKind.PROMPT, "prompts", "name", "prompts/get")),
    "prompts/get": McpMethod(CallKind.PROMPT, "name", is_mirrored=True),
    "tasks/list": McpMethod(listed=ListKind(CallKind.TASK, "tasks", "taskId", "tasks/get")),
    "tasks/get": McpMethod(CallKind.TASK, "taskId"),
    "tasks/result": McpMethod(CallKind.TASK, "taskId"),
    "tasks/update": McpMethod(CallKind.TASK, "taskId"),
    "tasks/cancel": McpMethod(CallKind.TASK, "taskId"),
}
# The members of params that name a target: ``Mcp-Name`` may mirror them.
MEMBERS: Final = tuple(dict.fromkeys(method.member for method in METHODS.values() if method.member))


def is_notification(method: str) -> bool:
    """Tell whether a method is a notification, to which there is no answer.

    Extensions may add some.
    """
    return method.startswith(NOTIFICATION)


def is_known(method: str) -> bool:
    """Tell whether a client may send a method, by any revision of the protocol."""
    return method in METHODS or is_notification(method)


def listing(kind: CallKind) -> tuple[str, ...]:
    """Return the methods whose results list targets of a kind."""
    return tuple(
        name for name, method in METHODS.items() if method.listed and method.listed.kind is kind
    )


def calling() -> Mapping[CallKind, str]:
    """Return the method that calls a listed item, by the kind of target."""
    lists = [method.listed for method in METHODS.values() if method.listed]
    return {listed.kind: listed.method for listed in lists}
