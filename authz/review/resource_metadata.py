"""Builds a route's protected-resource metadata (RFC 9728), which tells clients where to get tokens.

It is a public document, which the proxy serves without a check, at the URL that our challenges
name; any web server could.
"""

from collections.abc import Iterator
from typing import Any

from authz.config import Config
from authz.core.hosts import common_patterns
from authz.core.routes import RouteSettings


class NoResourceError(Exception):
    """The config has no such route, or it has no resource; the message says what to do."""


def resource_metadata(config: Config, name: str) -> dict[str, Any]:
    """Build the document of RFC 9728 section 2 from the config. Raises NoResourceError."""
    route = _route(config, name)
    audiences = {route.resource, *route.audiences}
    issuers = [issuer for issuer in config.issuers if audiences.intersection(issuer.audiences)]
    return {
        "resource": route.resource,  # section 3.3: exactly the URL that the client used
        "authorization_servers": [issuer.issuer for issuer in issuers],
        "scopes_supported": sorted({scope for rule in _rules(config, route) for scope in rule}),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(config.token.dpop.algorithms),
        # Enforced if the token has such a binding.
        "tls_client_certificate_bound_access_tokens": True,
    }


def _route(config: Config, name: str) -> RouteSettings:
    with_resource = [route for route in config.routes if route.resource]
    for route in with_resource:
        if route.name == name:
            return route
    known = ", ".join(route.name for route in with_resource) or "none"
    raise NoResourceError(f"no route {name!r} with a resource; routes with one: {known}")


def _rules(config: Config, route: RouteSettings) -> Iterator[tuple[str, ...]]:
    """Yield the scopes of each rule that shares a host with the route."""
    for rules in config.grants.values():
        for rule in rules:
            if common_patterns(rule.hosts, route.hosts):
                yield rule.scopes or ()
