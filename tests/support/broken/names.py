"""SPIFFE IDs, hosts, methods, paths, scopes, claims, and names that do not exist."""

from typing import Final

from support.broken.base import Broken

_ID: Final = "spiffe://corp.example/ns/agents/sa/travel"
_HOST: Final = "    - hosts: [orders.corp.example]"
_PATHS: Final = "      paths: [/orders/**]"
_SCOPES: Final = '      scopes: ["orders:read"]\n'
_AS_ID: Final = f"write {_ID}"
_INLINE: Final = "ca_file: |\n        -----BEGIN PRIVATE KEY-----\n        MIGHAgEAMBMG\n"


def _host(text: str) -> str:
    return f"@@    - hosts: ['{text}']"


def _path(text: str) -> str:
    return f"@@      paths: ['{text}']"


NAMES: Final = (
    # SPIFFE IDs
    Broken(_ID, f"@@{_ID.replace('spiffe', 'https')}", "does not start with spiffe://", _AS_ID),
    Broken(_ID, "@@spiffe://Corp.example/ns/agents/sa/travel", "trust domain has only a-z", _AS_ID),
    Broken(_ID, f"@@{_ID}/", "an empty segment or a trailing slash", _AS_ID),
    Broken(_ID, "@@spiffe://corp.example:8443/ns/agents/sa/travel", "has only a-z, 0-9", _AS_ID),
    Broken(_ID, "@@travel", "agents[0].id: the ID does not start", "as in spiffe://corp.example"),
    Broken(_ID, "@@spiffe://corp.example", "the ID has no path", "as in spiffe://corp.example/ns"),
    Broken(_ID, f"@@{_ID[:-2]}*", "'*' stands for a whole segment", "as in spiffe://corp.example"),
    Broken(_ID, _ID.replace("example", "@@exmaple"), "not one of trust_domains", "corp.example?"),
    Broken(
        "[corp.example]", "@@[spiffe://corp.example]", "has only a-z, 0-9", "write corp.example"
    ),
    Broken("claim: act", "claim: azp\n@@      map: {c: travel}", "map.c: the ID does not", "as in"),
    # hosts
    Broken(_HOST, _host("https://orders.corp.example"), "a host stands alone", "write orders.corp"),
    Broken(_HOST, _host("orders.corp.example/v1"), "a host stands alone", "write orders.corp"),
    Broken(_HOST, _host("me@orders.corp.example"), "a host stands alone", "write orders.corp"),
    Broken(_HOST, _host("orders.corp.example:443"), "without a port", "orders.corp.example"),
    Broken(_HOST, _host("Orders.corp.example"), "in lower case", "orders.corp.example"),
    Broken(
        _HOST, _host("orders*.corp.example"), "a wildcard is one or more whole", "*.corp.example"
    ),
    Broken(_HOST, _host("*.com"), "others have hosts in the top-level domain", "*.corp.com"),
    Broken(_HOST, _host("::1"), "not a single plain name", "write [::1]"),
    Broken(
        _HOST, _host("bücher.example"), "not a single plain name", "write xn--bcher-kva.example"
    ),
    # methods and scopes
    Broken("[GET]", "@@[get]", "'get' is invalid", "write GET"),
    Broken("[GET]", "@@['GET|POST']", "'GET|POST' is invalid", "write GET, POST"),
    Broken("[GET]", "@@[ANY]", "ANY is not a method", 'write "*" for any'),
    Broken("[GET]", "@@[GTE]", "GTE is not a known method", "did you mean GET?"),
    # paths
    Broken(_PATHS, _path("^/api/.*$"), "not a regular expression", "write /api/**"),
    Broken(_PATHS, _path("/api/[0-9]+"), "not a regular expression", "write /api/*"),
    Broken(_PATHS, _path("/api/(a|b)"), "not a regular expression", "write /api/*"),
    Broken(_PATHS, _path("/api/v1$"), "not a regular expression", "write /api/v1"),
    Broken(_PATHS, _path("/api/{id:[0-9]+}"), "not a regular expression", "write /api/{id}"),
    Broken(_PATHS, _path("/**/orders"), "'*' stands for a whole segment", "only at the end"),
    Broken(_PATHS, _path("/orders*"), "'*' stands for a whole segment", "write /orders/**"),
    Broken(_PATHS, _path("/orders**"), "'*' stands for a whole segment", "write /orders/**"),
    Broken(_PATHS, _path("orders"), "must start with '/'", "write /orders"),
    Broken(_PATHS, _path("*"), "must start with '/'", "write /**"),
    Broken(_PATHS, _path("https://a.example/orders"), "must start with '/'", "write /orders"),
    Broken(
        _PATHS, _path("/orders?id=1"), "rules see no query", "leave out the part from ? or # on"
    ),
    Broken(_PATHS, _path("/orders/x-{id}"), "a variable must be a whole segment", "as {id}"),
    Broken(_PATHS, _path("/orders/:id"), "for any segment", "write {id}"),
    Broken(_PATHS, _path("/orders/<id>"), "no request has such a path", "write {id}"),
    Broken(_PATHS, _path("/an order"), "no request has such a path", "write an%20order"),
    # names that must exist
    Broken(
        "[orders-read]\nprin", "@@[orders-raed]\nprin", "no grant 'orders-raed'", "orders-read?"
    ),
    Broken(
        "      issuer: https://as.corp.example",
        "@@      issuer: https://as.corp.example/",
        "is not one of the issuers",
        "did you mean https://as.corp.example?",
    ),
    Broken(
        "resource: https://orders.corp.example",
        "@@resource: https://shop.corp.example",
        "no issuer lists it in audiences",
        "add it there",
    ),
    # claims
    Broken("groups: [buyers]", "claims:\n@@        $.a.b: [c]", "JSON Pointer", "write /a/b"),
    Broken("groups: [buyers]", "@@groups: ['*']", '"*" is not a pattern', "leave groups out"),
    Broken("groups: [buyers]", "@@subjects: ['*']", '"*" is not a pattern', "leave subjects out"),
    Broken("[https://orders.corp.example]", "@@['*']", '"*" is not a pattern', "list what tokens"),
    # URLs and files
    Broken("jwks_uri: https", "@@discovery: https", "must be true or false", "discovery_url"),
    Broken("jwks_uri: https", "@@jwks_uri: http", "over plain http anyone", "use https"),
    Broken(
        "https://as.corp.example/jwks", "@@as.corp.example", "must be an https", "such as https"
    ),
    Broken(
        "https://as.corp.example/jwks", "@@${AS_URL}", "nothing expands", "write the value itself"
    ),
    Broken(
        "https://as.corp.example/jwks", "@@https://u:p@a.example", "without user", "must be a URL"
    ),
    Broken(
        "      jwks_uri: https://as.corp.example/jwks\n",
        f"      jwks_uri: https://as.corp.example/jwks\n@@      {_INLINE}",
        "must be the path of a file",
        "write the text into a file",
    ),
    # headers
    Broken(
        "admin:", "token:\n@@  header: X-Token\nadmin:", "'X-Token' is invalid", "write x-token"
    ),
    Broken(
        "admin:", "headers:\n@@  prefix: X-Agent\nadmin:", "'X-Agent' is invalid", "write x-agent-"
    ),
    # calls
    Broken(
        _SCOPES, f"{_SCOPES}      mcp:\n@@        tools: search\n", "must be a list", "[search]"
    ),
    Broken(_SCOPES, f"{_SCOPES}@@      models: [gpt]\n", "must be a mapping", "keys: names"),
)
