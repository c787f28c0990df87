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


class Listed(msgspec.Struct, frozen=True):
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


class Method(msgspec.Struct, frozen=True):
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
    listed: Listed | None = None
    is_of_session: bool = False
    is_mirrored: bool = False
    has_other_targets: bool = False


METHODS: Final[Mapping[str, Method]] = {
    INITIALIZE: Method(is_of_session=True),
    PING: Method(is_of_session=True),
    "server/discover": Method(is_of_session=True),
    LISTEN: Method(is_of_session=True, has_other_targets=True),
    "logging/setLevel": Method(),
    COMPLETE: Method(has_other_targets=True),
    "tools/list": Method(listed=Listed(CallKind.TOOL, "tools", "name", "tools/call")),
    "tools/call": Method(CallKind.TOOL, "name", is_mirrored=True),
    "resources/list": Method(
        listed=Listed(CallKind.RESOURCE, "resources", "uri", "resources/read")
    ),
    "resources/templates/list": Method(
        listed=Listed(CallKind.RESOURCE, "resourceTemplates", "uriTemplate", "resources/read")
    ),
    "resources/read": Method(CallKind.RESOURCE, "uri", is_mirrored=True),
    "resources/subscribe": Method(CallKind.RESOURCE, "uri"),
    "resources/unsubscribe": Method(CallKind.RESOURCE, "uri"),
    "prompts/list": Method(listed=Listed(CallKind.PROMPT, "prompts", "name", "prompts/get")),
    "prompts/get": Method(CallKind.PROMPT, "name", is_mirrored=True),
    "tasks/list": Method(listed=Listed(CallKind.TASK, "tasks", "taskId", "tasks/get")),
    "tasks/get": Method(CallKind.TASK, "taskId"),
    "tasks/result": Method(CallKind.TASK, "taskId"),
    "tasks/update": Method(CallKind.TASK, "taskId"),
    "tasks/cancel": Method(CallKind.TASK, "taskId"),
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
