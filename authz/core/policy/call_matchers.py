"""Compiled matchers for a rule's ``mcp``, ``a2a`` and ``models`` keys.

A call of a tool, a resource, a prompt or a task is matched by its list, whatever its method.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from authz.core.patterns import ANY
from authz.core.policy.call_settings import (
    KINDS,
    A2aSettings,
    CallSettings,
    McpSettings,
    ModelSettings,
    listed_targets,
)
from authz.core.policy.name_patterns import NamePatterns, UriPatterns
from authz.core.policy.query import UnmetRequirement
from authz.core.protocols.mcp_methods import METHODS, NOTIFICATION, listing
from authz.core.request import MESSAGE_KINDS, Call, CallKind

_SHOWN_CHARS: Final = 120  # of a name in a text: clients choose them
# Methods that any session needs (MCP, lifecycle and transports). None of these names a target:
# resources and tasks to listen to are separate calls.
_OF_SESSIONS: Final = (
    NOTIFICATION + ANY,
    *(name for name, method in METHODS.items() if method.is_of_session),
)
_NO_SESSION: Final = UnmetRequirement("a rule that reads arguments brings no session")


class CallMatcher(Protocol):
    """Matches calls against a rule.

    Guarantees that the answer depends on the call's method, kind, name, tools and streaming alone,
    and that nothing that a client sends makes it raise. Does not look at the arguments.
    """

    @property
    def methods(self) -> NamePatterns:
        """The methods that the rule names, known or not."""

    def unmet(self, call: Call) -> UnmetRequirement | None:
        """Return the mismatch in words for operators; None if the call matches."""


def build_matcher(
    settings: CallSettings, *, is_deny: bool, reads_arguments: bool = False
) -> CallMatcher:
    """Compile the matcher of a rule's key.

    A rule that reads arguments allows no session messages: these have no arguments to check.
    """
    if isinstance(settings, ModelSettings):
        return ModelDeny(settings) if is_deny else ModelAllow(settings)
    targets = dict(_targets(settings, is_deny=is_deny))
    if is_deny:
        return CallDeny(NamePatterns(settings.methods), targets)
    if isinstance(settings, A2aSettings):
        return A2aAllow(NamePatterns(settings.methods), targets)
    if reads_arguments:
        return McpAllow(NamePatterns(settings.methods), targets, brings_session=False)
    # A caller who may use some targets of a kind may list that kind.
    lists = (method for kind in targets for method in listing(kind))
    return McpAllow(NamePatterns((*settings.methods, *lists, *_OF_SESSIONS)), targets)


def _targets(
    settings: McpSettings | A2aSettings, *, is_deny: bool
) -> Iterator[tuple[CallKind, NamePatterns | UriPatterns]]:
    """Yield the given lists, by the kind of their targets."""
    for kind in KINDS:
        if texts := listed_targets(settings, kind):
            yield (
                kind,
                UriPatterns(texts, is_deny=is_deny)
                if kind is CallKind.RESOURCE
                else NamePatterns(texts),
            )


@dataclass(frozen=True, slots=True)
class McpAllow:
    """An allow of MCP: a call with a target is matched by the target's list, others by method."""

    methods: NamePatterns
    targets: Mapping[CallKind, NamePatterns | UriPatterns]
    brings_session: bool = True

    def unmet(self, call: Call) -> UnmetRequirement | None:
        """Return what does not match."""
        if call.kind in MESSAGE_KINDS:
            return None if self.brings_session else _NO_SESSION
        return _target_miss(self.targets, call) if call.kind else _method_miss(self.methods, call)


@dataclass(frozen=True, slots=True)
class A2aAllow:
    """An allow of A2A: the method and the target must both match."""

    methods: NamePatterns
    targets: Mapping[CallKind, NamePatterns | UriPatterns]

    def unmet(self, call: Call) -> UnmetRequirement | None:
        """Return what does not match."""
        missed = _method_miss(self.methods, call)
        if missed is not None:
            return missed
        if call.kind:
            return _target_miss(self.targets, call)
        return (
            UnmetRequirement("the call names no skill") if CallKind.SKILL in self.targets else None
        )


@dataclass(frozen=True, slots=True)
class CallDeny:
    """A deny of MCP or A2A: the method is listed, or the target."""

    methods: NamePatterns
    targets: Mapping[CallKind, NamePatterns | UriPatterns]

    def unmet(self, call: Call) -> UnmetRequirement | None:
        """Return what does not match."""
        listed = self.targets.get(call.kind)
        # A target whose name can't be read may be the one that is denied.
        is_listed = listed is not None and (call.hides_name or listed.fits(call.name))
        if self.methods.fits(call.method) or is_listed:
            return None
        return UnmetRequirement(f"{describe_call(call)} is not among what it denies")


class ModelAllow:
    """An allow of model calls: the model, each offered tool and streaming must match."""

    methods = NamePatterns(())

    def __init__(self, settings: ModelSettings) -> None:
        """Compile the settings of ``models``."""
        self._names = NamePatterns(settings.names)
        self._tools = NamePatterns((ANY,) if settings.tools is None else settings.tools)
        self._streaming = settings.streaming

    def unmet(self, call: Call) -> UnmetRequirement | None:
        """Return what does not match."""
        if call.kind is not CallKind.MODEL or not self._names.fits(call.name):
            return UnmetRequirement(f"{describe_call(call)} is not one of {self._names.words}")
        if self._streaming not in (None, call.is_streaming):
            return UnmetRequirement(f"streaming must be {str(self._streaming).lower()}")
        for tool in call.tools:
            if not self._tools.fits(tool):
                listed = self._tools.words or "none"
                return UnmetRequirement(
                    f"the tool {_shown(tool)}, which it offers, is not among {listed}"
                )
        return None


class ModelDeny:
    """A deny of model calls: the model, any offered tool, or streaming matches."""

    methods = NamePatterns(())

    def __init__(self, settings: ModelSettings) -> None:
        """Compile the settings of ``models``."""
        self._names = NamePatterns(settings.names)
        self._tools = NamePatterns(settings.tools or ())
        self._streaming = settings.streaming

    def unmet(self, call: Call) -> UnmetRequirement | None:
        """Return what does not match."""
        is_named = call.kind is CallKind.MODEL and self._names.fits(call.name)
        if is_named or any(map(self._tools.fits, call.tools)):
            return None
        if self._streaming is call.is_streaming:
            return None
        return UnmetRequirement(f"{describe_call(call)} is not among what it denies")


def _method_miss(methods: NamePatterns, call: Call) -> UnmetRequirement | None:
    if methods.fits(call.method):
        return None
    return UnmetRequirement(f"the method {_shown(call.method)} is not one of {methods.words}")


def _target_miss(
    targets: Mapping[CallKind, NamePatterns | UriPatterns], call: Call
) -> UnmetRequirement | None:
    listed = targets.get(call.kind)
    if listed is None:
        return UnmetRequirement(f"{describe_call(call)}: the rule lists no {call.kind}s")
    if call.hides_name:  # it may be any target, so every possible target must be allowed
        name = f"a {call.kind} whose name can't be read"
        return (
            None if ANY in listed.texts else UnmetRequirement(f'{name} needs {call.kind}s: ["*"]')
        )
    return (
        None
        if listed.fits(call.name)
        else UnmetRequirement(f"{describe_call(call)} is not one of {listed.words}")
    )


def describe_call(call: Call) -> str:
    """Return a description of a call for operators, such as "the tool search"."""
    if call.kind:
        return f"the {call.kind} {_shown(call.shown_name)}".rstrip()
    return f"the method {_shown(call.method)}"


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARS else f"{name[:_SHOWN_CHARS]}..."
