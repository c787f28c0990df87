"""The settings types of a call that an operator describes, by flags or in a file of tests."""

from typing import Any, Final, Self

import msgspec
from pydantic import Field, model_validator

from authz.core.policy.call_settings import KEYS
from authz.core.protocols.mcp_methods import calling, is_known
from authz.core.request import Call, CallKind, MessageProtocol
from authz.core.settings import Settings

_METHODS: Final = calling()  # the method that each kind of target stands for
_NO_TARGET: Final = (CallKind.SERVER, "")
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class McpCallInput(Settings):
    """A call of MCP."""

    method: str = ""
    """Such as tools/list; left out, to call the tool, read the resource, get the prompt or task."""
    tool: str = ""
    """Name of a tool."""
    resource: str = ""
    """URI of a resource."""
    prompt: str = ""
    """Name of a prompt."""
    task: str = ""
    """Id of a task."""
    arguments: dict[str, Any] = Field(default={})
    """Arguments of the call."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        given = [kind for kind in _METHODS if getattr(self, kind)]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are two targets: a call names only one of them"
            )
        if not (given or self.method):
            raise ValueError("name a method, a tool, a resource, a prompt or a task")
        return self

    def call(self) -> Call:
        """Build the call."""
        named = ((kind, getattr(self, kind)) for kind in _METHODS)
        kind, name = next(((kind, name) for kind, name in named if name), _NO_TARGET)
        method = self.method or _METHODS[kind]
        known = is_known(method)
        return Call(method, kind, name, is_known=known, arguments=_encode(self.arguments))


class A2aCallInput(Settings):
    """A call of A2A."""

    method: str = Field(min_length=1)
    """As A2A 1.0 names it, such as SendMessage."""
    task: str = ""
    """Id of the task that it is about."""
    skill: str = ""
    """The skill that it is about."""

    def call(self) -> Call:
        """Build the call."""
        is_about = CallKind.TASK if self.task else CallKind.SKILL
        kind = is_about if self.task or self.skill else CallKind.SERVER
        return Call(self.method, kind, self.task or self.skill)


class ModelCallInput(Settings):
    """A call of a model."""

    name: str = Field(min_length=1)
    """The model."""
    tools: tuple[str, ...] = ()
    """Tools that the call offers to it."""
    streaming: bool = False
    """Whether the answer is to be a stream."""

    def call(self) -> Call:
        """Build the call."""
        return Call(
            "chat/completions",
            CallKind.MODEL,
            self.name,
            tools=self.tools,
            is_streaming=self.streaming,
        )


class CallInput(Settings):
    """The call of a message, of a single protocol; empty for a plain request."""

    mcp: McpCallInput | None = None
    """A call of MCP."""
    a2a: A2aCallInput | None = None
    """A call of A2A."""
    models: ModelCallInput | None = None
    """A call of a model."""

    @model_validator(mode="after")
    def _is_of_one_protocol(self) -> Self:
        if sum(call is not None for call in (self.mcp, self.a2a, self.models)) > 1:
            raise ValueError("mcp, a2a and models are different protocols: give only one of them")
        return self

    @property
    def protocol(self) -> MessageProtocol:
        """The protocol as a Request has it; NONE without a message."""
        named = (protocol for protocol, key in KEYS.items() if getattr(self, key))
        return next(named, MessageProtocol.NONE)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls as a Request has them; () without a message."""
        given = self.mcp or self.a2a or self.models
        return (given.call(),) if given else ()
