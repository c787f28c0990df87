"""The settings with which rules match the calls of a message: ``mcp``, ``a2a`` and ``models``.

An allow names the permitted calls, and adds only those that a session needs. A deny names the
forbidden calls.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from authz.core.patterns import ANY
from authz.core.policy.name_patterns import NameText, UriText, uri_segments
from authz.core.protocols.a2a_methods import CARDS, GRPC_METHODS, JSONRPC_METHODS
from authz.core.protocols.mcp_methods import COMPLETE, METHODS
from authz.core.request import MESSAGE_KINDS, CallKind, MessageProtocol
from authz.core.settings import MisfitError, Settings

MAX_LISTED: Final = 1000  # of one list; a pattern covers more
KEYS: Final[Mapping[MessageProtocol, str]] = {  # of a rule
    MessageProtocol.MCP: "mcp",
    MessageProtocol.A2A: "a2a",
    MessageProtocol.OPENAI: "models",
}
_Names = Annotated[tuple[NameText, ...], Field(min_length=1, max_length=MAX_LISTED)]
_NamesOrNone = Annotated[tuple[NameText, ...], Field(max_length=MAX_LISTED)]
_Uris = Annotated[tuple[UriText, ...], Field(min_length=1, max_length=MAX_LISTED)]
KINDS: Final = tuple(kind for kind in CallKind if kind and kind not in MESSAGE_KINDS)  # of targets
# Methods that always name a target. Allows match them by target: the method alone means nothing.
_TARGETED: Final[Mapping[str, str]] = {
    **{name: f"{method.kind}s" for name, method in METHODS.items() if method.kind},
    COMPLETE: "prompts or resources",
}
# Names of A2A 0.3 and of bindings. A call always has its name of 1.0, so no rule could match these.
_A2A_RENAMED: Final[Mapping[str, str]] = {
    old: new
    for methods in (JSONRPC_METHODS, GRPC_METHODS)
    for old, (new, _) in methods.items()
    if old not in {new, *CARDS.values()}
}


class McpSettings(Settings):
    """Messages of MCP. An empty object, {}, allows a session and nothing else.

    An allow also allows the messages that a session needs, and the listing of tools, resources,
    prompts and tasks if it names any of that kind.
    """

    methods: _Names = ()
    """Further methods: in an allow only those that name no tool, resource, prompt or task, such as
    logging/setLevel; in a deny any. As in all these lists, exact names, or patterns in which * is
    any run of characters.
    """
    tools: _Names = ()
    """Tools that may be called."""
    resources: _Uris = ()
    """URIs of resources that may be read and subscribed to: exact URIs; patterns such as
    file:///docs/*.md and file:///docs/**, in which * stays within a segment; or "*" for any.
    """
    prompts: _Names = ()
    """Prompts that may be fetched."""
    tasks: _Names = ()
    """Ids of tasks, which servers choose; "*" for any."""

    def check(self, *, is_deny: bool) -> None:
        """Refuse settings that an operator can't have meant. Raises MisfitError."""
        if is_deny:
            if not any(getattr(self, name) for name in type(self).model_fields):
                raise MisfitError(_DENIES_NOTHING)
            _refuse_evaded(self.resources)
            return
        for at, method in enumerate(self.methods):
            if method in _TARGETED:
                listed = f'list it in {_TARGETED[method]}, or ["*"] for any'
                message = f"rules match {method} by what it names: {listed}"
                raise MisfitError(message, "methods", at)


def _refuse_evaded(uris: tuple[str, ...]) -> None:
    """Refuse exact URIs that have other spellings: a deny of one spelling would not stop these."""
    for at, uri in enumerate(uris):
        if ANY not in uri and uri_segments(uri) is None:
            message = f"{uri} has other spellings: deny a pattern that covers them all"
            raise MisfitError(message, "resources", at)


class A2aSettings(Settings):
    """Messages of A2A. An allow names methods; a call about a task or a skill has to fit its list.

    In a deny, a match of one of its lists is enough.
    """

    methods: _Names = ()
    """Methods as A2A 1.0 names them, such as SendMessage; "*" for any. Required in an allow."""
    tasks: _Names = ()
    """Ids, which servers choose, of the tasks that calls may be about; "*" for any. They can't be
    read from gRPC messages: there an allow needs "*", and a deny with any id denies.
    """
    skills: _Names = ()
    """Skills that calls may be about. With this key, a call about neither a task nor a skill does
    not match. A message over gRPC may be about a skill that can't be read: there an allow needs
    "*", and a deny with any skill denies.
    """

    def check(self, *, is_deny: bool) -> None:
        """Refuse settings that an operator can't have meant. Raises MisfitError."""
        for at, method in enumerate(self.methods):
            if new := _A2A_RENAMED.get(method):
                raise MisfitError(f"A2A 1.0 calls {method} {new}: write {new}", "methods", at)
        if is_deny and not (self.methods or self.tasks or self.skills):
            raise MisfitError(_DENIES_NOTHING)
        if not is_deny and not self.methods:
            raise MisfitError('methods must list what may be called; "*" for any')


class ModelSettings(Settings):
    """Calls of models. All keys that are given must match; in a deny, one match is enough."""

    names: _Names = ()
    """Models that may be called; "*" for any. Required in an allow."""
    tools: _NamesOrNone | None = None
    """Tools that a call may offer to the model; left out, any; [] for none. In a deny a single
    listed tool that the call offers is enough.
    """
    streaming: bool | None = None
    """true: the call must ask for a streamed answer; false: it must not. Left out, either is fine.
    """

    def check(self, *, is_deny: bool) -> None:
        """Refuse settings that an operator can't have meant. Raises MisfitError."""
        if not is_deny and not self.names:
            raise MisfitError('names must list the models; "*" for any')
        if is_deny and self.tools == ():
            raise MisfitError("[] in a deny matches no call; leave it out", "tools")
        if is_deny and not (self.names or self.tools or self.streaming is not None):
            raise MisfitError(_DENIES_NOTHING)


def _not_empty(value: object) -> object:
    """Refuse an empty ``mcp:``, which would otherwise make a rule for plain requests."""
    if value is None:
        raise ValueError("is empty; write its keys below it, or leave it out")
    return value


McpKey = Annotated[McpSettings | None, BeforeValidator(_not_empty)]
A2aKey = Annotated[A2aSettings | None, BeforeValidator(_not_empty)]
ModelsKey = Annotated[ModelSettings | None, BeforeValidator(_not_empty)]
CallSettings = McpSettings | A2aSettings | ModelSettings
_DENIES_NOTHING: Final = "names nothing to deny; without this key the rule denies every message"


def listed_targets(settings: CallSettings | None, kind: CallKind) -> tuple[str, ...]:
    """Return the targets of a kind that a rule lists; "*" for models if it lists no models."""
    if isinstance(settings, ModelSettings):
        return (settings.names or (ANY,)) if kind is CallKind.MODEL else ()
    listed: tuple[str, ...] = getattr(settings, f"{kind}s", ())
    return listed
