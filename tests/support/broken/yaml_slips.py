"""YAML that does not say what its author meant."""

from typing import Final

from support.broken.base import Broken

YAML: Final = (
    Broken("  drain: 5s", "@@\tdrain: 5s", "indented with a tab", "YAML takes spaces only"),
    Broken("  drain: 5s", "@@  drain 5s", "not YAML", "a key and ': ' are expected here"),
    Broken("  drain: 5s", "@@  drain:5s", "not YAML", "a key and ': ' are expected here"),
    Broken("  drain: 5s", "@@  drain = 5s", "not YAML", "a key and ': ' are expected here"),
    Broken("  drain: 5s", "@@   drain: 5s", "a key is not expected here", "look at its indent"),
    Broken("  drain: 5s", "@@ drain: 5s", "a key is expected here", "start in the column"),
    Broken("  drain: 5s", "@@  drain: '5s", "the quote that opens here", "never closed"),
    Broken("  drain: 5s", "@@  // later\n  drain: 5s", "not YAML", "a key and ': ' are expected"),
    Broken(
        "  drain: 5s", "@@  drain: &d 5s", "anchors, aliases and merge keys", "write the value out"
    ),
    Broken("  drain: 5s", "@@  drain: *d", "anchors, aliases and merge keys", "stand in quotes"),
    Broken(
        "  drain: 5s", "@@  <<: *base", "anchors, aliases and merge keys", "write the value out"
    ),
    Broken("  drain: 5s", "@@  drain: !env DRAIN", "tags such as !env", "put in quotes"),
    Broken("  drain: 5s", "@@  drain: {{ .Values.drain }}", "a key must be plain text", "render a"),
    Broken("[corp.example]", "@@[corp.example", "does not end with ]", "must stand in quotes"),
    Broken(
        "[corp.example]", "@@[corp.example]]", "a key is expected here", "closing quote or bracket"
    ),
    Broken(
        "trust_domains: [corp.example]", "@@trust_domains: - a", "a list begins", "on the next line"
    ),
    Broken(
        "[/orders/**]\n    res", "@@[/orders/{id}]\n    res", "does not end with ]", "in quotes"
    ),
    Broken('["orders:read"]', "@@[orders: read]", "must be text, not a mapping", "in quotes"),
    Broken("[buyers]", "@@[*]", "a text that begins with *", "must stand in quotes"),
    Broken("[buyers]", "@@[@staff]", "begins with @", "must stand in quotes"),
    Broken("grants:\n  o", "@@---\ngrants:\n  o", "a second document", "a file may hold only one"),
    Broken("  drain: 5s", '@@  drain: "\\q"', "begins an escape", "use single quotes"),
)
