"""Methods of MCP, of all its revisions: one table of what clients ask of servers.

What reads requests, what rules bring with them, which results are lists to be cut, what a header
mirrors: all of it is taken from here, so that a method is known everywhere or nowhere. Requests
that servers send to clients are not among them.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz.core.request import CallKind

NOTIFICATION: Final = "notifications/"  # how methods begin that ask for nothing, ours or not
INITIALIZE: Final = "initialize"
COMPLETE: Final = "completion/complete"
LISTEN: Final = "subscriptions/listen"
PING: Final = "ping"


class ListKind(msgspec.Struct, frozen=True):
    """What a result lists.

    Attributes:
        kind: of its items, as targets of calls.
        member: of the result, that holds the list.
        name: the item's member by which it is called.
        method: by which it is called.
    """

    kind: CallKind
    member: str
    name: str
    method: str


class McpMethod(msgspec.Struct, frozen=True):
    """One method.

    Attributes:
        kind: of the target that its params name; SERVER where it stands elsewhere too.
        member: of the params, that names the target.
        listed: what its result lists; None where the result passes as it is.
        is_of_session: whether any session needs it: a rule of any kind brings it along.
        is_mirrored: whether servers compare the target's name with the header ``Mcp-Name``.
        has_other_targets: whether targets stand in its params in other ways than in a member.
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
# Of params, what names a target: ``Mcp-Name`` may mirror it.
MEMBERS: Final = tuple(dict.fromkeys(one.member for one in METHODS.values() if one.member))


def is_notification(method: str) -> bool:
    """Whether it is a notification, which asks for nothing: those of extensions are as good."""
    return method.startswith(NOTIFICATION)


def is_known(method: str) -> bool:
    """Whether a client may send it, by any revision of the protocol."""
    return method in METHODS or is_notification(method)


def listing(kind: CallKind) -> tuple[str, ...]:
    """The methods whose results list targets of a kind."""
    return tuple(
        name for name, one in METHODS.items() if one.listed is not None and one.listed.kind is kind
    )


def calling() -> Mapping[CallKind, str]:
    """By kind of target the method that calls what a list has."""
    return {one.listed.kind: one.listed.method for one in METHODS.values() if one.listed}
