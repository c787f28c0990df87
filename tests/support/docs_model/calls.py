"""What a message calls: MCP, A2A and model calls, read as the docs say, or refused."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from support.docs_model.asked import Asked, Config, Refused, Rule
from support.docs_model.paths import text_fits

SESSION = ("initialize", "ping", "server/discover", "subscriptions/listen")
LISTS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resources",
    "prompts/list": "prompts",
    "tasks/list": "tasks",
}
# By method: the key of rules, and the parameter that names what is called.
NAMED = {
    "tools/call": ("tools", "name"),
    "prompts/get": ("prompts", "name"),
    "resources/read": ("resources", "uri"),
    "resources/subscribe": ("resources", "uri"),
    "resources/unsubscribe": ("resources", "uri"),
    "tasks/get": ("tasks", "taskId"),
    "tasks/result": ("tasks", "taskId"),
    "tasks/cancel": ("tasks", "taskId"),
}
A2A_OLD = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/cancel": "CancelTask",
}
A2A_TASKS = ("GetTask", "CancelTask")
A2A_OTHERS = ("GetExtendedAgentCard", "ListTasks")
MODEL_PATHS = ("chat/completions", "completions", "responses", "embeddings")
# Members of the public APIs, as far as this company's requests have them.
MODEL_MEMBERS = {
    "chat/completions": {"messages", "tools", "temperature"},
    "completions": {"prompt", "temperature"},
    "responses": {"input", "tools", "temperature"},
    "embeddings": {"input"},
}


@dataclass(frozen=True)
class Call:
    """One call; ``key`` is that of rules which name it: tools, resources, ..., names.

    ``is_plain`` calls of MCP belong to every session; ``lists`` is the key of what is listed.
    A method that neither the protocol nor a rule has is not ``is_known``.
    """

    protocol: str
    method: str
    key: str = ""
    name: str = ""
    arguments: Mapping[str, Any] | None = None
    is_plain: bool = False
    is_known: bool = True
    lists: str = ""
    skill: str = ""
    task: str = ""
    offered: list[str] = field(default_factory=list)
    streaming: bool = False


def read_calls(config: Config, route: Rule, asked: Asked, segments: list[str]) -> list[Call | None]:
    """The calls of a message; None alone for a plain request."""
    protocol = route.get("protocol", "http")
    if protocol == "http":
        return [None]
    if bodyless := call_without_body(asked, protocol, segments):
        return [bodyless]
    message = read_body(asked, protocol)
    if protocol == "openai":
        return [model_call(message, "/".join(segments), query_of(asked))]
    known = methods_of_rules(config, protocol)
    method, params = json_rpc(message)
    if protocol == "mcp":
        call = mcp_call(method, params, known)
        of_header = asked.headers.get("mcp-method", method).strip(" \t")
        if of_header != method:
            raise Refused("mcp_header_mismatch")
        if asked.headers.get("mcp-name", call.name).strip(" \t") != call.name:
            raise Refused("mcp_header_mismatch")
        return [call]
    if not method:
        raise Refused("mcp_invalid_request")  # an A2A server asks nothing that could be answered
    return list(a2a_calls(A2A_OLD.get(method, method), params, known))


def call_without_body(asked: Asked, protocol: str, segments: list[str]) -> Call | None:
    """What a request asks for by its method and path alone; None where its body says it."""
    if protocol == "mcp" and asked.method in ("GET", "DELETE") and not asked.body:
        return Call("mcp", "", is_plain=True)
    if protocol != "a2a":
        return None
    if asked.method == "GET":
        if segments[-2:] != [".well-known", "agent-card.json"]:
            raise Refused("mcp_invalid_request")
        return Call("a2a", "GetAgentCard")
    if query_of(asked).get("A2A-Version", "1.0") not in ("0.3", "1.0"):
        raise Refused("body_uninspectable")
    return None


def methods_of_rules(config: Config, key: str) -> list[str]:
    """The methods that some rule knows."""
    rules = [rule for rules in config["grants"].values() for rule in rules]
    return [method for rule in rules for method in rule.get(key, {}).get("methods", [])]


def read_body(asked: Asked, protocol: str) -> Any:
    """The JSON of a body that can be read by everybody in one way."""
    if asked.method != "POST":
        # Which is said of a method that the protocol has not, and no body, is left open.
        only = [] if protocol == "openai" else ["mcp_invalid_request"]
        raise Refused("body_uninspectable", *only)
    content_type = asked.headers.get("content-type", "")
    is_json = re.fullmatch(r"application/json(; charset=utf-8)?", content_type)
    if not asked.body or not is_json or "content-encoding" in asked.headers:
        raise Refused("body_uninspectable")
    if asked.is_cut:
        raise Refused("body_truncated")
    try:
        return json.loads(asked.body.decode(), object_pairs_hook=without_doubles)
    except ValueError:
        raise Refused("mcp_parse") from None


def without_doubles(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no member stands there twice. Raises ValueError."""
    if len(dict(members)) != len(members):
        raise ValueError
    return dict(members)


def json_rpc(message: Any) -> tuple[str, dict[str, Any]]:
    """The method and parameters of a JSON-RPC request; method "" for a response."""
    members = {"jsonrpc", "id", "method", "params", "result"}
    is_one = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
    if not is_one or not set(message) <= members:
        raise Refused("mcp_invalid_request")
    number, method, params = message.get("id", 0), message.get("method", ""), message.get("params")
    if isinstance(number, bool) or not isinstance(number, int | str):
        raise Refused("mcp_invalid_request")
    if params is not None and not isinstance(params, dict):
        # "parameters of another type", or "no JSON-RPC 2.0"
        raise Refused("mcp_params", "mcp_invalid_request")
    return method, params or {}


def mcp_call(method: str, params: dict[str, Any], known: list[str]) -> Call:
    """One call of MCP."""
    if method in ("", *SESSION) or method.startswith("notifications/"):
        return Call("mcp", method, is_plain=True)
    if method in LISTS:
        return Call("mcp", method, lists=LISTS[method])
    if method not in NAMED:
        is_known = method == "logging/setLevel" or text_fits(known, method)
        return Call("mcp", method, is_known=is_known)
    key, parameter = NAMED[method]
    name, arguments = params.get(parameter), params.get("arguments") or {}
    if not isinstance(name, str) or not name or min(name) < " ":
        raise Refused("mcp_params")
    return Call("mcp", method, key, name, arguments)


def a2a_calls(method: str, params: dict[str, Any], known: list[str]) -> list[Call]:
    """The calls of an A2A message: of its task, its skill, and the push config that it brings."""
    if method in ("SendMessage", "SendStreamingMessage"):
        message = params.get("message")
        if not isinstance(message, dict):
            raise Refused("mcp_params")
        call = Call("a2a", method, arguments=params)
        calls = []
        if task := message.get("taskId"):
            calls.append(replace(call, task=task))
        if skill := message.get("metadata", {}).get("skillId"):
            calls.append(replace(call, skill=skill))
        if "configuration" in params:
            calls.append(replace(call, method="CreateTaskPushNotificationConfig"))
        return calls if task or skill else [call, *calls]
    if method in A2A_TASKS:
        if not params.get("id"):
            raise Refused("mcp_params")
        return [Call("a2a", method, arguments=params, task=params["id"])]
    is_known = method in A2A_OTHERS or text_fits(known, method)
    return [Call("a2a", method, arguments=params, is_known=is_known)]


def query_of(asked: Asked) -> dict[str, str]:
    """The parameters of the query."""
    pairs = [pair.partition("=") for pair in asked.path.partition("?")[2].split("&") if pair]
    return {name: value for name, _, value in pairs}


def model_call(body: Any, path: str, query: Mapping[str, str]) -> Call:
    """A call of a model, by the end of its path."""
    method = next((m for m in MODEL_PATHS if path.endswith(m)), "")
    if not method:
        raise Refused("body_uninspectable")
    if not isinstance(body, dict):
        raise Refused("mcp_params")
    metadata = body.get("metadata", {})
    known = {"model", "stream", "metadata"} | MODEL_MEMBERS[method]
    is_plain = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    if not is_plain or not set(body) <= known or not set(query) <= {"api-version", "beta"}:
        raise Refused("body_uninspectable")
    if not body.get("model"):
        raise Refused("mcp_params")
    streaming = body.get("stream", False)
    if not isinstance(streaming, bool):
        raise Refused("mcp_params")
    tools = [tool.get("function", tool)["name"] for tool in body.get("tools", [])]
    return Call("openai", method, "names", body["model"], body, offered=tools, streaming=streaming)
