"""Routes: their settings, and the route of a request.

A route is the hosts and paths that a resource serves. The proxy names it in its context
extensions, or it is the first route whose hosts and paths match. If no route matches, the defaults
apply: delegated action only.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.core.choice import Choice, Need
from authz.core.paths import Form, Forms, Segments, ambiguous, read_path
from authz.core.pattern_tree import PatternTree
from authz.core.patterns import ANY, HostText, PathText, path_pattern
from authz.core.reason import Denied, Reason
from authz.core.request import (
    Call,
    MessageProtocol,
    Operation,
    Request,
    canonical_host,
    check_method,
)
from authz.core.settings import Duration, MisfitError, Settings

ROUTE: Final = "authz_route"  # the context extension by which a proxy names the route
PROFILE: Final = "authz_profile"  # the context extension by which a proxy names its profile
RESOURCE_METADATA: Final = (
    "resource_metadata"  # the context extension that gives the metadata's URL
)
WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"  # RFC 9728 section 3
DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_REMEMBERED: Final = 1024  # targets in use, and those of requests under way
_REMEMBERED_CHARS: Final = 256  # of a target: read as segments, together they take 8 MB at most
_WORD: Final = r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$"  # as a scope: it goes into a quoted-string
# Settings that mean something for messages of one protocol only.
_OF_PROTOCOLS: Final[Mapping[MessageProtocol, tuple[str, ...]]] = {
    MessageProtocol.MCP: ("bootstrap", "trust_mcp_headers", "refusals"),
    MessageProtocol.OPENAI: ("extra_members",),
}


class RouteMode(Choice):
    """How agents may act on a route."""

    DELEGATED = "delegated"
    AUTONOMOUS = "autonomous"


class RouteProtocol(Choice):
    """The protocol of a route: plain requests, or messages that are read."""

    HTTP = "http"
    MCP = "mcp"
    A2A = "a2a"
    OPENAI = "openai"

    @property
    def of_messages(self) -> MessageProtocol:
        """The protocol of the messages that are read there."""
        return MessageProtocol("" if self is RouteProtocol.HTTP else self.value)


class RefusalForm(Choice):
    """Where a client is told that policy refuses its call."""

    STATUS = "status"
    MESSAGE = "message"


def url_origin(url: str) -> str:
    """Return ``scheme://host:port`` in lower case, without a default port. Raises ValueError."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("a URL must have a host, and no user in front of it")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _resource(text: str) -> str:
    if not re.fullmatch(r"https?://[\x21-\x7e]+", text) or re.search(r"[?#\"\\]", text):
        raise ValueError("a resource must be an https URL without a query or fragment (RFC 8707)")
    url_origin(text)
    return text


class RouteSettings(Settings):
    """A route: how agents may act on some hosts and paths."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")
    """The route's name, for the proxy's context extension authz_route and for `authz metadata`."""
    hosts: tuple[HostText, ...] = Field(default=(ANY,), min_length=1)
    """Exact hosts, lower case and without a port; "*" for any."""
    paths: tuple[PathText, ...] = Field(default=("/**",), min_length=1)
    """Path templates, as in grants."""
    resource: Annotated[str, AfterValidator(_resource)] | None = None
    """The resource identifier (RFC 8707, RFC 9728): the URL at which clients reach the route. A
    token must be for it; challenges point to its metadata; DPoP proofs must name its origin.
    """
    audiences: tuple[str, ...] = ()
    """Further audiences of tokens for this route. If resource or audiences is set, a token for any
    other audience is refused.
    """
    modes: tuple[RouteMode, ...] = Field(default=(RouteMode.DELEGATED,), min_length=1)
    """delegated: the agent acts for a principal. autonomous: it acts for itself, and the token's
    sub is the agent.
    """
    protocol: RouteProtocol = RouteProtocol.HTTP
    """The protocol of the route. http: rules see host, method and path. mcp, a2a, openai (model
    calls in the form of OpenAI's API): the server reads the messages, so that rules can name tools,
    tasks and models, and refuses any message that it can't read for certain. The proxy must send
    the body.
    """
    trust_mcp_headers: bool = False
    """For mcp: where the proxy sends no body, trust the headers Mcp-Method and Mcp-Name, in those
    protocol versions that oblige the MCP server to compare them with the body. By setting this you
    vouch that your server does.
    """
    refusals: RefusalForm = RefusalForm.STATUS
    """For mcp: how a call that policy refuses is answered. status: HTTP 403 with a JSON-RPC error.
    message: for policy_denied and method_unknown, HTTP 200 with that error, because some
    clients end their session at a 403. A refusal that another token would mend keeps its status in
    both.
    """
    extra_members: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], ...] = ()
    """For openai: further members of a model call's body, and parameters of its query, that your
    model server or gateway has beside those of the public APIs. List only those that can't say what
    is called, with which key or where. All others are refused, because some gateways have members
    that redefine what a model's name stands for.
    """
    bootstrap: tuple[Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")], ...] = ()
    """For mcp: methods that an agent may call without a token, such as initialize and tools/list,
    when a rule without scopes allows them.
    """
    proof: Need = Need.OPTIONAL
    """required: a token must be bound to a key (cnf), and the caller must prove that it holds the
    key.
    """
    acr_values: tuple[Annotated[str, Field(pattern=_WORD)], ...] = ()
    """The token's acr must be one of these authentication contexts (RFC 9470)."""
    max_age: Duration | None = Field(default=None, ge=1.0)
    """The longest time since the principal authenticated, by the token's auth_time (RFC 9470)."""
    accept_ambiguous: tuple[Form, ...] = ()
    """Ambiguous forms of paths, which servers read differently, to accept on this route; elsewhere
    they are refused. By listing a form you vouch that the upstream reads it so: double_encoding,
    %25 is a percent sign and nothing is decoded twice; empty_segments, the empty segment in //
    stays and is not merged; escaped_backslash and escaped_slash, %5C and %2F are part of a name and
    separate nothing; parameters, ;x is part of a name and not cut off. If that is wrong, the
    upstream serves a path that no rule or route here has judged.
    """

    @model_validator(mode="after")
    def _some_settings_are_of_a_protocol(self) -> Self:
        for protocol, names in _OF_PROTOCOLS.items():
            given = sorted(self.model_fields_set.intersection(names))
            if self.protocol.of_messages is not protocol and given:
                raise MisfitError(f"{', '.join(given)} is only for protocol: {protocol}", given[0])
        return self


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled route.

    Attributes:
        name: "" for the defaults, if no route matches.
        audiences: a token must be for one of these; empty if any audience of the issuer will do.
        protocol: of its messages; NONE if they are not read.
        trusts_headers: whether MCP headers may stand in for a missing body.
        extra_members: further members of model calls, which the operator knows to be harmless.
        refuses_by_message: whether policy refuses with HTTP status 200 and an error in the message.
        origin: the resource's origin, in one spelling; "" without a resource.
        parameters: auth-params of challenges, which say where to get a token: the URL of the
            resource's metadata (RFC 9728 section 5.1); empty without a resource.
        accept_ambiguous: forms of paths that the upstream reads as this server does.
    """

    name: str = ""
    audiences: frozenset[str] = frozenset()
    modes: frozenset[RouteMode] = frozenset({RouteMode.DELEGATED})
    protocol: MessageProtocol = MessageProtocol.NONE
    trusts_headers: bool = False
    refuses_by_message: bool = False
    extra_members: frozenset[str] = frozenset()
    bootstrap: frozenset[str] = frozenset()
    needs_proof: bool = False
    acr_values: tuple[str, ...] = ()
    max_age_seconds: float | None = None
    origin: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    accept_ambiguous: Forms = frozenset()

    def bootstrap_calls(self, request: Request) -> tuple[Call, ...]:
        """Return the request's calls if each may be made without a token, else nothing."""
        calls = request.calls if self.bootstrap else ()
        return calls if all(call.method in self.bootstrap for call in calls) else ()


class Routes:
    """The configured routes, which find the route of a request."""

    def __init__(self, routes: Iterable[RouteSettings]) -> None:
        """Compile the routes; their order decides."""
        listed = [(settings, _route(settings)) for settings in routes]
        self.has_protocols = any(route.protocol for _, route in listed)
        self._table = _Table(listed)
        # The table's method, not one of self: a reference cycle would keep all that is cached
        # when this object is replaced.
        self._known = lru_cache(_REMEMBERED)(self._table.read)

    def read(self, request: Request) -> tuple[Operation, Route]:
        """Return ``Operation.of`` a request and its route, ``of``, in one reading of the target.

        It is the reading of ``of_raw``, if that came first. Raises Denied as these two do.
        """
        check_method(request.method)
        target = self._target(request.context_value(ROUTE), request.host, request.path)
        route = _accepted(target.route, target.ambiguities)
        return Operation.at(request, target.host, target.path, target.ambiguities), route

    def of(self, request: Request, operation: Operation) -> Route:
        """Return the route that the proxy names, else the first that matches, else the defaults.

        Raises Denied(POLICY_DENIED) for a name that is not configured, Denied(PATH_AMBIGUOUS) for
        forms in the path that the route does not accept: nothing else lets them pass.
        """
        route = self._table.find(request.context_value(ROUTE), operation.host, operation.path)
        return _accepted(route, operation.ambiguities)

    def of_raw(self, name: str, host: str, path: str) -> Route:
        """Return the route of a raw request; its protocol says how to read the message.

        Never raises; returns the route of ``of``, if that does not refuse.
        """
        try:
            return self._target(name, host, path).route or _DEFAULTS
        except Denied:
            return _DEFAULTS

    def _target(self, name: str, host: str, path: str) -> "_Target":
        """Return a raw target as it is read, from memory if it is short. Raises Denied."""
        is_short = len(host) + len(path) <= _REMEMBERED_CHARS
        return (self._known if is_short else self._table.read)(name, host, path)


def _accepted(route: Route | None, ambiguities: Forms) -> Route:
    """Return the route that was found, if it accepts the path's forms. Raises Denied as ``of``.

    An ambiguous path finds its route by this server's reading. That can be a laxer route than by
    the upstream's reading only if the upstream reads the path otherwise. Then either the route does
    not accept the form, and the path is refused; or the operator was wrong that this upstream reads
    it so, and then rules are bypassed just like routes. The upstream is the intended one: proxies
    route by the raw text, where no form separates or cuts anything.
    """
    if route is None:
        raise Denied(Reason.POLICY_DENIED, "the proxy names a route that is not configured")
    if not ambiguities <= route.accept_ambiguous:
        raise ambiguous(ambiguities - route.accept_ambiguous)
    return route


class _Target(NamedTuple):
    """A raw target as it is read, and its route; None for an unknown name."""

    host: str
    path: Segments
    ambiguities: Forms
    route: Route | None


class _Table:
    """The compiled routes, by name and in order."""

    def __init__(self, listed: list[tuple[RouteSettings, Route]]) -> None:
        self._by_name = {route.name: route for _, route in listed}
        self._routes = [route for _, route in listed]
        self._numbers: dict[str, PatternTree[int]] = {}  # by host and path
        for number, (settings, _) in enumerate(listed):
            for host in settings.hosts:
                tree = self._numbers.setdefault(host, PatternTree())
                for path in settings.paths:
                    tree.add(path_pattern(path), number)

    def read(self, name: str, host: str, path: str) -> _Target:
        """Return a raw target as it is read. Raises Denied(PATH_AMBIGUOUS)."""
        host = canonical_host(host)
        segments, ambiguities = read_path(path)
        return _Target(host, segments, ambiguities, self.find(name, host, segments))

    def find(self, name: str, host: str, path: Segments) -> Route | None:
        """Return the route by name, else by host and path; None for an unknown name."""
        if name:
            return self._by_name.get(name)
        found: list[int] = []
        for listed in (host, ANY):
            if (tree := self._numbers.get(listed)) is not None:
                found += tree.find(path)
        return self._routes[min(found)] if found else _DEFAULTS


_DEFAULTS: Final = Route()


def _route(settings: RouteSettings) -> Route:
    resource = settings.resource
    return Route(
        name=settings.name,
        audiences=frozenset({*settings.audiences, *([resource] if resource else [])}),
        modes=frozenset(settings.modes),
        protocol=settings.protocol.of_messages,
        trusts_headers=settings.trust_mcp_headers,
        extra_members=frozenset(settings.extra_members),
        refuses_by_message=settings.refusals is RefusalForm.MESSAGE,
        bootstrap=frozenset(settings.bootstrap),
        needs_proof=settings.proof is Need.REQUIRED,
        acr_values=settings.acr_values,
        max_age_seconds=settings.max_age,
        origin=url_origin(resource) if resource else "",
        parameters=((RESOURCE_METADATA, metadata_url(resource)),) if resource else (),
        accept_ambiguous=frozenset(settings.accept_ambiguous),
    )


def metadata_url(resource: str) -> str:
    """Return the URL of a resource's metadata, its well-known part between host and path.

    As RFC 9728 section 3.1 has it.
    """
    parts = urlsplit(resource)
    path = "" if parts.path == "/" else parts.path
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{path}"
