"""Routes, compiled, and the route of a request.

A route is a set of hosts and paths that a resource serves. The proxy names it in its context
extensions, or it is the first route whose hosts and paths match. If no route matches, the defaults
apply: delegated action only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from authz.core.choice import Need
from authz.core.hosts import is_domain_pattern, matching_patterns
from authz.core.paths import Forms, Segments, ambiguous, read_path
from authz.core.pattern_tree import PatternTree
from authz.core.patterns import ANY, path_pattern
from authz.core.reason import Denied, Reason
from authz.core.request import (
    Call,
    MessageProtocol,
    Operation,
    Request,
    canonical_host,
    check_method,
)
from authz.core.route_settings import (
    RefusalForm,
    RouteMode,
    RouteProtocol,
    RouteSettings,
    url_origin,
)
from authz.core.upstream_token import FORWARDED, STRIPPED, Upstream, UpstreamToken

__all__ = [
    "PROFILE",
    "RESOURCE_METADATA",
    "ROUTE",
    "WELL_KNOWN",
    "Route",
    "RouteMode",
    "RouteProtocol",
    "RouteSettings",
    "Routes",
    "metadata_url",
    "url_origin",
]
ROUTE: Final = "authz_route"  # the context extension by which a proxy names the route
PROFILE: Final = "authz_profile"  # the context extension by which a proxy names its profile
RESOURCE_METADATA: Final = (
    "resource_metadata"  # the context extension that gives the metadata's URL
)
WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"  # RFC 9728 section 3
_REMEMBERED: Final = 1024  # the targets in use, and those of current requests
_REMEMBERED_CHARS: Final = 256  # of a target: read as segments, together they take 8 MB at most


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
        resource: its resource, as tokens name it; "" without one.
        origin: the resource's origin, in one spelling; "" without a resource.
        takes_svid_alone: whether a request without any credential is the agent's own there.
        parameters: auth-params of challenges, which say where to get a token: the URL of the
            resource's metadata (RFC 9728 section 5.1); empty without a resource.
        accept_ambiguous: forms of paths that the upstream reads as this server does.
        upstream: what the upstream gets for the token; None if the route does not say.
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
    resource: str = ""
    origin: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    accept_ambiguous: Forms = frozenset()
    takes_svid_alone: bool = False
    upstream: Upstream | None = None

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
        # The table's method, not a method of self: a reference cycle would keep everything that is
        # cached when this object is replaced.
        self._known = lru_cache(_REMEMBERED)(self._table.read)

    @property
    def by_name(self) -> Mapping[str, Route]:
        """The configured routes, in their order."""
        return self._table.by_name

    def read(self, request: Request) -> tuple[Operation, Route]:
        """Return ``Operation.of`` a request and its route, ``of``, from one reading of the target.

        If ``of_raw`` was called first, its reading is used again. Raises Denied as these two do.
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

        Never raises. Returns the same route as ``of``, if ``of`` does not refuse.
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

    An ambiguous path finds its route by this server's reading. The route can be laxer than the one
    by the upstream's reading only if the upstream reads the path differently. Then either the route
    does not accept the form, and the path is refused; or the operator vouched wrongly for how this
    upstream reads it, and then rules are bypassed just like routes. The upstream is the intended
    one: proxies route by the raw text, where no form separates or cuts anything.
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
        self.by_name = {route.name: route for _, route in listed}
        self._routes = [route for _, route in listed]
        self._numbers: dict[str, PatternTree[int]] = {}  # by pattern of hosts, and path
        for number, (settings, _) in enumerate(listed):
            for host in settings.hosts:
                tree = self._numbers.setdefault(host, PatternTree())
                for path in settings.paths:
                    tree.add(path_pattern(path), number)
        self._has_domains = any(map(is_domain_pattern, self._numbers))

    def read(self, name: str, host: str, path: str) -> _Target:
        """Return a raw target as it is read. Raises Denied(PATH_AMBIGUOUS)."""
        host = canonical_host(host)
        segments, ambiguities = read_path(path)
        return _Target(host, segments, ambiguities, self.find(name, host, segments))

    def find(self, name: str, host: str, path: Segments) -> Route | None:
        """Return the route by name, else by host and path; None for an unknown name."""
        if name:
            return self.by_name.get(name)
        found: list[int] = []
        for listed in matching_patterns(host) if self._has_domains else (host, ANY):
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
        resource=resource or "",
        origin=url_origin(resource) if resource else "",
        parameters=((RESOURCE_METADATA, metadata_url(resource)),) if resource else (),
        accept_ambiguous=_with_implied(frozenset(settings.accept_ambiguous)),
        takes_svid_alone=settings.takes_svid_alone,
        upstream=_upstream(settings),
    )


def _upstream(settings: RouteSettings) -> Upstream | None:
    """Return what the upstream gets, None if the route does not say."""
    match settings.upstream_token:
        case None:
            return None
        case UpstreamToken.STRIP:
            return STRIPPED
        case UpstreamToken.FORWARD:
            return FORWARDED
        case UpstreamToken.ASSERT:
            listed = settings.assertion.scopes if settings.assertion is not None else None
            return Upstream(
                UpstreamToken.ASSERT,
                settings.name,
                settings.assertion_audience,
                None if listed is None else frozenset(listed),
            )
        case UpstreamToken.EXCHANGE:
            return _exchanged(settings)


def _exchanged(settings: RouteSettings) -> Upstream:
    asked = settings.exchange
    if asked is None:
        raise ValueError("upstream_token: exchange needs exchange")  # as the settings say, too
    return Upstream(
        UpstreamToken.EXCHANGE,
        settings.name,
        asked.audience or "",
        None if asked.scopes is None else frozenset(asked.scopes),
        asked.issuer,
        asked.resource or "",
    )


def _with_implied(forms: Forms) -> Forms:
    """Return the forms and those that they imply: to keep ``;x`` in a name is to keep ``%3Bx``."""
    return forms | {"escaped_semicolon"} if "parameters" in forms else forms


def metadata_url(resource: str) -> str:
    """Return the URL of a resource's metadata (RFC 9728 section 3.1).

    Its well-known part stands between host and path.
    """
    parts = urlsplit(resource)
    path = "" if parts.path == "/" else parts.path
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{path}"
