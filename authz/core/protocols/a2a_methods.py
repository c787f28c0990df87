"""Methods of A2A: tables from the names and paths of 0.3 and 1.0 to the names of 1.0.

1.0: sections 5.3, 9.4, 10 and 11.3, and a2a.proto. 0.3: section 3.5.6, and types.ts.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

SEND: Final = frozenset({"SendMessage", "SendStreamingMessage"})

# Name on the wire: the name of 1.0, and the member of its params that holds the task's id.
JSONRPC_METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "SendMessage": ("SendMessage", ""),
    "SendStreamingMessage": ("SendStreamingMessage", ""),
    "GetTask": ("GetTask", "id"),
    "ListTasks": ("ListTasks", ""),
    "CancelTask": ("CancelTask", "id"),
    "SubscribeToTask": ("SubscribeToTask", "id"),
    "CreateTaskPushNotificationConfig": ("CreateTaskPushNotificationConfig", "taskId"),
    "GetTaskPushNotificationConfig": ("GetTaskPushNotificationConfig", "taskId"),
    "ListTaskPushNotificationConfigs": ("ListTaskPushNotificationConfigs", "taskId"),
    "DeleteTaskPushNotificationConfig": ("DeleteTaskPushNotificationConfig", "taskId"),
    "GetExtendedAgentCard": ("GetExtendedAgentCard", ""),
    "message/send": ("SendMessage", ""),
    "message/stream": ("SendStreamingMessage", ""),
    "tasks/get": ("GetTask", "id"),
    "tasks/list": ("ListTasks", ""),
    "tasks/cancel": ("CancelTask", "id"),
    "tasks/resubscribe": ("SubscribeToTask", "id"),
    "tasks/pushNotificationConfig/set": ("CreateTaskPushNotificationConfig", "taskId"),
    "tasks/pushNotificationConfig/get": ("GetTaskPushNotificationConfig", "id"),
    "tasks/pushNotificationConfig/list": ("ListTaskPushNotificationConfigs", "id"),
    "tasks/pushNotificationConfig/delete": ("DeleteTaskPushNotificationConfig", "id"),
    "agent/getAuthenticatedExtendedCard": ("GetExtendedAgentCard", ""),
}


class RestForm(msgspec.Struct, frozen=True):
    """The method that a path of the REST binding asks for.

    Attributes:
        method: the name of 1.0.
        has_optional_body: whether a POST may have no body, because its path is sufficient.
    """

    method: str
    has_optional_body: bool = False


# HTTP method and path, an id as "*", from the binding's first word on: the segments before it are
# the agent's own, a tenant, or the "v1" of 0.3.
FORMS: Final[Mapping[tuple[str, str], RestForm]] = {
    ("POST", "message:send"): RestForm("SendMessage"),
    ("POST", "message:stream"): RestForm("SendStreamingMessage"),
    ("GET", "tasks"): RestForm("ListTasks"),
    ("GET", "tasks/*"): RestForm("GetTask"),
    ("POST", "tasks/*:cancel"): RestForm("CancelTask", has_optional_body=True),
    ("POST", "tasks/*:subscribe"): RestForm("SubscribeToTask", has_optional_body=True),
    ("GET", "tasks/*:subscribe"): RestForm("SubscribeToTask"),
    ("POST", "tasks/*/pushNotificationConfigs"): RestForm("CreateTaskPushNotificationConfig"),
    ("GET", "tasks/*/pushNotificationConfigs"): RestForm("ListTaskPushNotificationConfigs"),
    ("GET", "tasks/*/pushNotificationConfigs/*"): RestForm("GetTaskPushNotificationConfig"),
    ("DELETE", "tasks/*/pushNotificationConfigs/*"): RestForm("DeleteTaskPushNotificationConfig"),
    ("GET", "extendedAgentCard"): RestForm("GetExtendedAgentCard"),
}

# How the path of an agent card ends. The last entry is from the SDK for Python of 0.3.
CARDS: Final[Mapping[tuple[str, ...], str]] = {
    (".well-known", "agent-card.json"): "GetAgentCard",
    (".well-known", "agent.json"): "GetAgentCard",
    ("v1", "card"): "GetExtendedAgentCard",
    ("agent", "authenticatedExtendedCard"): "GetExtendedAgentCard",
}

# Name on the wire: the name of 1.0, and whether its message may hold a task's id.
GRPC_METHODS: Final[Mapping[str, tuple[str, bool]]] = {
    "SendMessage": ("SendMessage", True),
    "SendStreamingMessage": ("SendStreamingMessage", True),
    "GetTask": ("GetTask", True),
    "ListTasks": ("ListTasks", False),
    "CancelTask": ("CancelTask", True),
    "SubscribeToTask": ("SubscribeToTask", True),
    "CreateTaskPushNotificationConfig": ("CreateTaskPushNotificationConfig", True),
    "GetTaskPushNotificationConfig": ("GetTaskPushNotificationConfig", True),
    "ListTaskPushNotificationConfigs": ("ListTaskPushNotificationConfigs", True),
    "DeleteTaskPushNotificationConfig": ("DeleteTaskPushNotificationConfig", True),
    "GetExtendedAgentCard": ("GetExtendedAgentCard", False),
    # 0.3
    "TaskSubscription": ("SubscribeToTask", True),
    "ListTaskPushNotificationConfig": ("ListTaskPushNotificationConfigs", True),
    "GetAgentCard": ("GetExtendedAgentCard", False),
}
