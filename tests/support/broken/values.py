"""Values of a wrong type, unit, range or word, and empty lists."""

from typing import Final

from support.broken.base import Broken

_SCOPES: Final = '      scopes: ["orders:read"]\n'
_LISTEN: Final = "listen: unix:/run/authz/authz.sock"
_DRAIN: Final = "drain: 5s"
VALUES: Final = (
    # a list, a text, a mapping
    Broken("[corp.example]", "@@corp.example", "must be a list, not text", "write [corp.example]"),
    Broken('["orders:read"]', "@@orders:read", "must be a list, not text", 'write ["orders:read"]'),
    Broken(
        "    grants: [orders-read]\nprin",
        "@@    grants: orders-read, orders-write\nprin",
        "agents[0].grants: must be a list, not text",
        "write [orders-read, orders-write]",
    ),
    Broken(
        'scopes: ["orders:read"]',
        '@@scopes: ["orders:read orders:write"]',
        "'orders:read orders:write' is invalid",
        'write "orders:read", "orders:write"',
    ),
    Broken("name: orders", "@@name: 5", "routes[0].name: must be text, not a number", "in quotes"),
    Broken(
        "    actor:\n      claim: act",
        "@@    actor: act",
        "must be a mapping, not",
        "its keys: claim",
    ),
    Broken(
        "    - hosts", "    rules:\n    - hosts", "must be a list, not a mapping", "put '- ' before"
    ),
    Broken(
        "  - id: spiffe",
        "    id: spiffe",
        "agents: must be a list, not a mapping",
        "before each item",
    ),
    Broken(
        "  default:\n", "  - default:\n", "profiles: must be a mapping, not a list", "name: {key:"
    ),
    Broken(
        "claim: act", "claim: act\n@@      map: [a]", "map: must be a mapping, not a list", "name:"
    ),
    # yes and no, numbers
    Broken(_DRAIN, f"{_DRAIN}\n@@  pin: yes", "pin: must be true or false", "write true, not yes"),
    Broken(_DRAIN, f"{_DRAIN}\n@@  pin: 'true'", "pin: must be true or false", "without quotes"),
    Broken(_DRAIN, f"{_DRAIN}\n@@  workers: '2'", "must be a whole number", "without quotes"),
    Broken(_DRAIN, f"{_DRAIN}\n@@  workers: 0", "server.workers: must be at least", "at least 1"),
    Broken(_DRAIN, f"{_DRAIN}\n@@  workers: 010", "must be a whole number such as 5", "not text"),
    Broken(_DRAIN, f"{_DRAIN}\n@@  workers: 2.0", "not a number with a point", "such as 5"),
    Broken(
        "admin:", "cache:\n@@  entries: 10_000\nadmin:", "entries: must be a whole", "write 10000"
    ),
    Broken("[buyers]", "@@[2026]", "groups[0]: must be text, not a number", "put it in quotes"),
    # durations
    Broken(_DRAIN, "@@drain: 5", "a duration must be a whole number and a unit", "write 5s"),
    Broken(_DRAIN, "@@drain: -5s", "server.drain: a duration must be", "such as 250ms, 30s"),
    Broken(_DRAIN, "@@drain: 00:00:05", "server.drain: a duration must be", "such as 250ms, 30s"),
    Broken(_DRAIN, "@@drain: 1h", "server.drain: must be", "at most 5m"),
    Broken("refresh: 5m", "@@refresh: 1h30m", "a duration must be a whole number", "5m, 1h, 1d"),
    # addresses
    Broken(_LISTEN, "@@listen: 0.0.0.0", "'0.0.0.0' is invalid", 'write "0.0.0.0:9191"'),
    Broken(_LISTEN, "@@listen: 9191", "listen: a port needs a host", "write 127.0.0.1:9191"),
    Broken(_LISTEN, "@@listen: 0.0.0.0:99999", "there is no port 99999", "the last is 65535"),
    Broken(_LISTEN, "@@listen: ::1:9191", "an IPv6 address stands in brackets", "write [::1]:9191"),
    Broken(_LISTEN, "@@listen: unix:authz.sock", "is invalid: it must be an address", "unix:/run"),
    Broken(
        _LISTEN, "@@listen: /run/a.sock", "'/run/a.sock' is invalid", 'write "unix:/run/a.sock"'
    ),
    Broken(_LISTEN, "@@listen: grpc://0.0.0.0:9191", "is invalid", 'write "0.0.0.0:9191"'),
    Broken("127.0.0.1:9192", "@@127.0.0.1", "admin.listen: '127.0.0.1' is invalid", ':9192"'),
    # words
    Broken("identity: principal", "@@identity: spiffe", "identity: must be", "'principal'"),
    Broken(_SCOPES, f"{_SCOPES}@@      effect: block\n", "effect: must be", "'allow' or 'deny'"),
    Broken("[ES256]", "@@[HS256]", "HS256 is never accepted: HMAC", "such as ES256 or RS256"),
    Broken(
        "[ES256]", "@@[none]", "none is never accepted: anybody could", "such as ES256 or RS256"
    ),
    Broken("[ES256]", "@@[es256]", "algorithms[0]: must be", "did you mean ES256?"),
    Broken("[ES256]\n", "[ES256]\n@@    typ: JWT\n", "typ: must be a list", "write [JWT]"),
    Broken(
        "[ES256]\n", "[ES256]\n@@    typ: [dpop+jwt]\n", "another kind of token", "never accepted"
    ),
    # empty lists
    Broken("[corp.example]", "@@[]", "trust_domains: must not be empty", "as in [corp.example]"),
    Broken("[https://orders.corp.example]", "@@[]", "audiences: must not be empty", "in aud"),
    Broken(
        "    grants: [orders-read]\nprin",
        "@@    grants: []\nprin",
        "must not be empty",
        "name a grant",
    ),
    Broken("[GET]", "@@[]", "methods: must not be empty", 'as in [GET], or "*" for any'),
    Broken("[buyers]", "@@[]", "groups: an empty list matches nobody", "leave it out to match any"),
    Broken("[ES256]", "@@[]", "algorithms: must not be empty", "as in [ES256]"),
    # time windows and conditions
    Broken(
        _SCOPES,
        f"{_SCOPES}      during:\n        - days: [mon]\n@@          zone: CET+1\n",
        "no time zone 'CET+1'",
        "such as Europe/Berlin",
    ),
    Broken(
        _SCOPES,
        f"{_SCOPES}      during:\n        - days: [mon]\n@@          hours: 9-17\n",
        "hours are a span",
        "such as 08:00-18:00",
    ),
    Broken(
        _SCOPES, f"{_SCOPES}@@      during: 09:00-17:00\n", "must be a list", "keys: days, hours"
    ),
    Broken(_SCOPES, f"{_SCOPES}@@      when: agent.id = 'x'\n", "line 1, column", "write =="),
    Broken(_SCOPES, f"{_SCOPES}@@      when: agent.id == x\n", "no name x", "stands in quotes"),
    Broken(_SCOPES, f"{_SCOPES}@@      when: size(agent.id\n", "not CEL", "a ) is missing at the"),
    Broken(_SCOPES, f"{_SCOPES}@@      when: agent.id\n", "not true or false", "compare it"),
    Broken(
        _SCOPES, f"{_SCOPES}@@      when: claims.x == 1\n", "claims does not list x", "conditions"
    ),
    Broken(
        _SCOPES, f"{_SCOPES}@@      when: true\n", "must be text, not true or", "put it in quotes"
    ),
)
