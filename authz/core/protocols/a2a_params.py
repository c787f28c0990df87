"""Parameters of A2A's methods, in JSON of either binding: the tasks, skills and URLs they name.

0.3 and 1.0 have different places for the same value, and so do JSON-RPC and REST in 0.3. The reader
looks for members of all of them, whatever the version: a server may be lax.
"""

from typing import Any, Final

import msgspec

from authz.core.protocols.body import may_be_masked
from authz.core.protocols.json_members import (
    as_json,
    distinct,
    listed,
    names,
    params_refused,
    pick,
    target_name,
)
from authz.core.protocols.message import MessageInput
from authz.core.request import MAX_URI_CHARS, Call, CallKind

PUSH: Final = "CreateTaskPushNotificationConfig"
MAX_REFERENCES: Final = 32  # tasks that a message refers to; each is decided separately
# In 0.3's a2a.proto the field of the message is named "request", which ProtoJSON takes as well.
_SEND: Final = names("message", "request", "configuration", "metadata", "tenant")
_MESSAGE: Final = names("taskId", "contextId", "referenceTaskIds", "metadata")
_SKILLS: Final = names("skillId", "skill")
# 1.0; 0.3 in JSON-RPC; 0.3 in REST.
_CONFIGURATION: Final = names(
    "taskPushNotificationConfig", "pushNotificationConfig", "pushNotification"
)
_INNER_CONFIGS: Final = ("config", "pushNotificationConfig")
_PUSH_CONFIG: Final = names("url", "taskId", "tenant", *_INNER_CONFIGS)
_TASK: Final = names("id", "taskId", "tenant", "contextId")
_REST_TASK: Final = names("taskId", "name", "parent", "config")
_RESOURCES: Final = ("name", "parent")  # 0.3: "tasks/{id}" and resources below it
# Arguments that a condition may read: short texts about the target of a call.
_TEXTS: Final = ("tenant", "contextId", "url")


def send_calls(sent: MessageInput, method: str, params: object) -> tuple[Call, ...]:
    """Return a message's calls: for its task, the tasks it refers to, its skill, and its URL.

    Without a task and a skill there is a call without a target. Raises Denied(MESSAGE_PARAMS).
    """
    asked = pick(params, _SEND)
    if ("message" in asked) == ("request" in asked):
        raise params_refused("the params must have exactly one message")
    message = pick(asked.get("message", asked.get("request")), _MESSAGE)
    task = _task(sent, message.get("taskId"))
    references = listed(message.get("referenceTaskIds"), MAX_REFERENCES)
    skills = _skills(sent, message.get("metadata"), asked.get("metadata"))
    told = {**asked, **message}
    calls = [_with_arguments(sent, Call(method, CallKind.TASK, task), told)] if task else []
    calls += [_with_arguments(sent, Call(method, CallKind.SKILL, skill), told) for skill in skills]
    if not calls:
        calls = [_with_arguments(sent, Call(method), told)]
    others = distinct(target_name(sent, reference) for reference in references)
    calls += [_with_arguments(sent, Call(method, CallKind.TASK, other), told) for other in others]
    configs = pick(asked.get("configuration"), _CONFIGURATION).values()
    calls += [_push_call(sent, config, task, asked) for config in configs]
    return tuple(dict.fromkeys(calls))


def task_calls(
    sent: MessageInput, method: str, params: object, task_member: str
) -> tuple[Call, ...]:
    """Return the call of any other JSON-RPC method, for its task. Raises Denied(MESSAGE_PARAMS)."""
    asked = pick(params, _TASK)
    task = target_name(sent, asked.get(task_member)) if task_member else ""
    if method == PUSH:
        return (_push_call(sent, params, task, {}),)
    return (
        _with_arguments(
            sent, Call(method, CallKind.TASK if task else CallKind.SERVER, task), asked
        ),
    )


def rest_task_calls(sent: MessageInput, method: str, body: object, task: str) -> tuple[Call, ...]:
    """Return the call of a POST for the task in the path, which the body must not contradict.

    Raises Denied(MESSAGE_PARAMS).
    """
    asked = pick(body, _TASK)
    if method != PUSH and asked.get("id", task) != task:  # a config's "id" is not the task's
        raise params_refused("path and body name different tasks")
    _require_same_task(pick(body, _REST_TASK), task)
    if method == PUSH:
        return (_push_call(sent, body, task, {}),)
    return (_with_arguments(sent, Call(method, CallKind.TASK, task), asked),)


def _require_same_task(members: dict[str, Any], task: str) -> None:
    if members.get("taskId", task) != task:
        raise params_refused("path and body name different tasks")
    for member in _RESOURCES:
        value = members.get(member)
        parts = value.split("/")[:2] if isinstance(value, str) else value
        if value and parts != ["tasks", task]:
            raise params_refused("path and body name different tasks")
    if "config" in members:
        _require_same_task(pick(members["config"], _REST_TASK), task)


def _push_call(sent: MessageInput, config: object, task: str, around: dict[str, Any]) -> Call:
    """Return the call for a URL, which versions have in the config, or one or two objects below."""
    layers = [pick(config, _PUSH_CONFIG)]
    for layer in layers:  # the list grows during the loop; the JSON's depth bounds it
        layers += [pick(layer[name], _PUSH_CONFIG) for name in _INNER_CONFIGS if name in layer]
    urls = [layer["url"] for layer in layers if "url" in layer]
    tasks = [layer["taskId"] for layer in layers if layer.get("taskId")]
    if len(urls) > 1 or any(named != task for named in tasks):
        raise params_refused("a config for notifications has two URLs, or another task")
    told = {**around, **layers[0], **({"url": urls[0]} if urls else {})}
    return _with_arguments(sent, Call(PUSH, CallKind.TASK if task else CallKind.SERVER, task), told)


def _task(sent: MessageInput, value: object) -> str:
    """Return the task that a message belongs to, "" for a new task, as in protobuf."""
    return "" if value is None or value == "" else target_name(sent, value)


def _skills(sent: MessageInput, *metadata: object) -> tuple[str, ...]:
    return distinct(
        target_name(sent, skill) for holder in metadata for skill in pick(holder, _SKILLS).values()
    )


def _with_arguments(sent: MessageInput, call: Call, members: dict[str, Any]) -> Call:
    """Add the arguments to a call if a decision reads them."""
    if not sent.reads_arguments(call):
        return call
    texts: dict[str, Any] = {name: members[name] for name in _TEXTS if name in members}
    if not all(isinstance(text, str) and len(text) <= MAX_URI_CHARS for text in texts.values()):
        raise params_refused("a member is not text of a sane length")
    if any(may_be_masked(sent, text) for text in texts.values()):
        return call
    return msgspec.structs.replace(call, arguments=as_json(texts))
