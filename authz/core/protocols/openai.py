"""Reader of model calls in the form of OpenAI's API, and of Anthropic's messages.

A request may name several models: those that a gateway may fall back to, a deployment in the path
(Azure) besides the model in the body, or a tool's model. Each gives a separate call, so that all
must be allowed. A request that takes its model and tools from elsewhere, such as a stored prompt,
is refused; so is a request with members that may redefine them.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

import msgspec

from authz.core.paths import Segments, canonical_path
from authz.core.protocols.body import parse, require_unmasked
from authz.core.protocols.bodyless import require_no_body, require_no_upgrade
from authz.core.protocols.json_members import (
    as_json,
    distinct,
    listed,
    names,
    params_refused,
    pick,
    require_only,
    target_name,
)
from authz.core.protocols.message import Message, MessageInput
from authz.core.protocols.openai_conversation import CONVERSATION, tools_within
from authz.core.protocols.openai_members import KNOWN, READ, require_known, require_known_query
from authz.core.reason import Denied, Reason
from authz.core.request import MAX_NAME_CHARS, Call, CallKind

MAX_TOOLS: Final = 256  # of all bodies of a request; OpenAI takes 128
MAX_FALLBACKS: Final = 16
MAX_MODELS: Final = 32  # each is decided separately
MAX_BODIES: Final = MAX_MODELS  # of a request: in 44 KB there were 2,000, at 30 ms
# The longest tail counts: "chat/completions" is not "completions".
_POSTS: Final = (
    "chat/completions",
    "messages/count_tokens",
    "images/generations",
    "audio/speech",
    "completions",
    "responses",
    "embeddings",
    "messages",
    "moderations",
)
_DEPLOYMENTS: Final = frozenset({"deployments", "engines"})  # Azure; OpenAI before, LiteLLM
_MODELS: Final = "models"
# Below these a tail has another meaning ("threads/{id}/messages"), or a model of its own.
_OTHERS: Final = frozenset(
    {"threads", "conversations", "completions", "responses", "messages", *_DEPLOYMENTS}
)
_PICKED: Final = {**READ, **CONVERSATION}
# Members that offer a tool without listing it among the tools, and the name by which it is known.
_IMPLIED: Final = {
    "mcp_servers": "mcp",
    "plugins": "plugins",
    "container": "container",  # which may hold skills, and files of earlier calls
    "web_search_options": "web_search",
}
_TOOL: Final = names("type", "name", "function", "custom", "tools", "model")
_INNER: Final = names("name")
_PLAIN_TYPES: Final = frozenset({"function", "custom"})  # such tools have names of their own
# Arguments that a condition may read: small values about the call, never about the conversation.
_ARGUMENTS: Final = names(
    "background", "best_of", "dimensions", "max_completion_tokens", "max_output_tokens",
    "max_tokens", "max_tool_calls", "n", "parallel_tool_calls", "previous_response_id", "quality",
    "reasoning_effort", "safety_identifier", "seed", "service_tier", "size", "store", "stream",
    "temperature", "tool_choice", "top_k", "top_p", "truncation", "user", "voice",
)  # fmt: skip


def read(sent: MessageInput) -> Message:
    """Return a request's message, with a call for each model that the request names.

    GET .../models has one call, without a model unless the path names it. ``Call.method`` is the
    path's tail, such as "chat/completions", or "models". ``Call.tools`` has the names of functions,
    and the types of built-in tools (and their names, if any): "web_search", "mcp"; tools in a group
    count as well. ``Call.arguments`` has numbers, flags and short texts of a closed list, such as
    ``max_tokens`` and ``user``; they are not known where a part of the body may change them for
    another model.

    Raises Denied: BODY_UNINSPECTABLE for a path that is not a known model call, for a stored
    prompt and for members that are not known, MESSAGE_PARAMS for members of a wrong kind,
    PATH_AMBIGUOUS, and what ``body.parse`` raises.
    """
    require_no_upgrade(sent)
    path = canonical_path(sent.path)
    if sent.method == "GET":
        require_no_body(sent)
        return Message((_models(sent, path),))
    if sent.method != "POST":
        raise _uninspectable("the HTTP method is not one of a model call")
    method, base = _tail(path)
    require_known_query(sent)
    body = parse(sent)
    bodies = list(islice(_bodies(sent, method, body), MAX_BODIES + 1))
    if len(bodies) > MAX_BODIES:
        raise params_refused(f"more than {MAX_BODIES} bodies in one")
    if any(_is_stored(method, asked) for asked in bodies):
        raise _uninspectable("a stored prompt brings a model and tools that can't be inspected")
    tools, brought = _tools(sent, bodies)
    call = Call(
        method,
        kind=CallKind.MODEL,
        tools=tools,
        is_streaming=True in [_flag(asked.get("stream")) for asked in bodies],
    )
    models = distinct((*_deployment(sent, base), *_named(sent, bodies), *brought))
    if not 1 <= len(models) <= MAX_MODELS:
        raise params_refused(f"the call must name 1 to {MAX_MODELS} models")
    return Message(tuple(_with_arguments(sent, call, model, body, bodies) for model in models))


def _models(sent: MessageInput, path: Segments) -> Call:
    """Return the call of GET .../models or .../models/{model}, whose name may have slashes."""
    if path.count(_MODELS) != 1 or not _OTHERS.isdisjoint(path):
        raise _uninspectable("the path is not one of a model call")
    rest = path[path.index(_MODELS) + 1 :]
    if not rest:
        return Call(_MODELS)
    if "" in rest:
        raise _uninspectable("the path is not one of a model call")
    return Call(_MODELS, CallKind.MODEL, _model(sent, "/".join(rest)))


def _tail(path: Segments) -> tuple[str, Segments]:
    """Return the API's part of the path, and the deployment's before it: ("deployments", name)."""
    for tail in _POSTS:
        parts = tuple(tail.split("/"))
        if path[-len(parts) :] == parts:
            return tail, _base(path[: -len(parts)])
    raise _uninspectable("the path is not one of a model call")


def _base(base: Segments) -> Segments:
    deployment = base[-2:] if _DEPLOYMENTS.intersection(base[-2:-1]) else ()
    before = base[: len(base) - len(deployment)]
    # Azure's ".../models/chat/completions" is plain; ".../models/{model}/..." names one itself.
    if not _OTHERS.isdisjoint(before) or _MODELS in before[:-1]:
        raise _uninspectable("the path is not one of a model call")
    return deployment


def _deployment(sent: MessageInput, base: Segments) -> tuple[str, ...]:
    return tuple(_model(sent, name) for name in base[1:])


def _bodies(sent: MessageInput, method: str, body: object) -> Iterator[dict[str, Any]]:
    """Yield the body, then the bodies in it: of models to fall back to, and LiteLLM's extra.

    The JSON's depth bounds the recursion.
    """
    asked = pick(body, _PICKED)
    if isinstance(body, dict):
        require_known(sent, method, body)
    yield asked
    if "extra_body" in asked:
        yield from _bodies(sent, method, asked["extra_body"])
    for further in listed(asked.get("fallbacks"), MAX_FALLBACKS):
        if not isinstance(further, str):
            require_only(further, KNOWN[method])  # or it could be {model: [models instead]}
            yield from _bodies(sent, method, further)


def _is_stored(method: str, asked: dict[str, Any]) -> bool:
    """Tell whether model and tools may come from elsewhere, as with OpenAI, OpenRouter, LiteLLM."""
    is_prompt = method == "responses" and isinstance(asked.get("prompt"), dict)
    return is_prompt or "preset" in asked or "prompt_id" in asked


def _named(sent: MessageInput, bodies: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the model of each body, and the models that a gateway may use instead."""
    for asked in bodies:
        if "model" in asked:
            yield _model(sent, asked["model"])
        for further in listed(asked.get("models"), MAX_FALLBACKS):
            yield _model(sent, further)
        for further in asked.get("fallbacks", ()):
            if isinstance(further, str):
                yield _model(sent, further)


def _model(sent: MessageInput, value: object) -> str:
    name = target_name(sent, value)
    if "," in name or " " in name or not name.isascii():  # a gateway reads "a,b" as two models
        raise params_refused("a model's name has characters that such names must not have")
    return name


def _tools(sent: MessageInput, bodies: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[str]]:
    """Return the tools that are offered, and the models of tools, such as a model for images."""
    brought: list[str] = []
    offers = chain.from_iterable(_offers(sent, asked, brought) for asked in bodies)
    found = list(islice(offers, MAX_TOOLS + 1))
    tools = distinct(chain.from_iterable(found))
    if max(len(found), len(tools)) > MAX_TOOLS:
        raise params_refused(f"more than {MAX_TOOLS} tools are offered")
    return tools, brought


def _offers(sent: MessageInput, asked: dict[str, Any], brought: list[str]) -> Iterator[list[str]]:
    """Yield the names of each tool that a body offers; add the tools' models to ``brought``."""
    yield from _offered(sent, listed(asked.get("tools"), MAX_TOOLS), brought)
    yield from _offered(sent, tools_within(asked, MAX_TOOLS), brought)
    for function in listed(asked.get("functions"), MAX_TOOLS):
        yield [_inner(sent, function)]
    for member, tool in _IMPLIED.items():
        if member in asked:
            yield [tool]


def _offered(sent: MessageInput, tools: Iterable[Any], brought: list[str]) -> Iterator[list[str]]:
    """Yield every name under which a server may know each tool.

    The JSON's depth bounds the recursion.
    """
    for tool in tools:
        members = pick(tool, _TOOL)
        kind = target_name(sent, members.get("type", "function"))
        found = [] if kind in _PLAIN_TYPES else [kind]
        if "name" in members:
            found.append(target_name(sent, members["name"]))
        found += [_inner(sent, members[key]) for key in ("function", "custom") if key in members]
        if not found:
            raise params_refused("a tool has no name")
        if "model" in members:
            brought.append(_model(sent, members["model"]))
        yield found
        yield from _offered(sent, listed(members.get("tools"), MAX_TOOLS), brought)


def _inner(sent: MessageInput, function: object) -> str:
    return target_name(sent, pick(function, _INNER).get("name"))


def _flag(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise params_refused("a flag is neither true nor false")
    return value


def _with_arguments(
    sent: MessageInput, call: Call, model: str, body: object, bodies: list[dict[str, Any]]
) -> Call:
    call = msgspec.structs.replace(call, name=model)
    if len(bodies) > 1 or not sent.reads_arguments(call):
        return call
    found = pick(body, _ARGUMENTS)
    small = {name: value for name, value in found.items() if _is_small(sent, value)}
    return msgspec.structs.replace(call, arguments=as_json(small))


def _is_small(sent: MessageInput, value: object) -> bool:
    if not isinstance(value, str):
        return isinstance(value, int | float)  # a bool is an int
    require_unmasked(sent, value)
    return len(value) <= MAX_NAME_CHARS


def _uninspectable(detail: str) -> Denied:
    return Denied(Reason.BODY_UNINSPECTABLE, detail)
