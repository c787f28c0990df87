"""What operators do wrong: one thing broken in a good config, and what they are told, and where."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.config import ConfigError, load, load_text, schema
from authz.config.forms import PATTERNS
from support.config_halves import INCLUDED, halves

HERE = "@@"  # stands on the line that the message has to name, and is taken out
_FOREIGN = re.compile(
    r"(?i)pydantic|tuple|dict|pyyaml|python|traceback|NoneType|\binput should|\bstr\b|\bint\b"
)


def problems(folder: Path, main: str | bytes, included: str | bytes) -> list[str]:
    """Every problem of the two files, as told, from the folder."""
    for name, text in (("authz.yaml", main), (INCLUDED, included)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(folder / "authz.yaml")
    return [line.replace(f"{folder}/", "") for line in caught.value.lines()]


# What is replaced, what with, and words of the message. The file is the one that has the text.
BROKEN = [
    # keys
    ("trust_domains:", "@@trust_domians:", "unknown key; did you mean trust_domains?"),
    ("  drain: 5s", "@@  drian: 5s", "server.drian: unknown key; did you mean drain?"),
    ("  drain: 5s", "@@  xyz: 5s", "known here: drain, listen"),
    ("cache: {entries: 5000}", "@@chain: {key: x}", "chain: unknown key; it is a part of audit"),
    (
        "cache: {entries: 5000}",
        "@@audit: {witnesses: [{file: x}]}",
        "audit.witnesses: unknown key; it is a part of chain",
    ),
    (
        "cache: {entries: 5000}",
        "@@audit: {chain: {key: x, name: eu 1}}",
        "audit.chain.name: 'eu 1' is invalid: it must be letters, digits",
    ),
    (
        "cache: {entries: 5000}",
        "@@audit: {sinks: [{syslog: {address: log.corp.example}}]}",
        'or "[2001:db8::1]:6514"; write "log.corp.example:6514"',
    ),
    ("cache: {entries: 5000}", "audit:\n@@  path: -", "a dash as text must stand in quotes"),
    ("certificate: required", "@@certificate: required, x: 1", "profiles.default.x: unknown key"),
    ("cache: {entries: 5000}", "@@cache: {entires: 5000}", "did you mean entries?"),
    ("algorithms:", "@@algorithm:", "issuers[0].algorithm: unknown key; did you mean algorithms?"),
    ("      paths: [/finance/**]\n", "@@      path: [/finance/**]\n", "did you mean paths?"),
    ("    suspended: true", "@@    suspend: true", "agents[2].suspend: unknown key; did you mean"),
    ("agents:\n", "@@agent:\n", "unknown key; did you mean agents?"),
    ("routes:\n", "@@server: {listen: 'unix:/x'}\nroutes:\n", "other keys belong in the main file"),
    (
        "routes:\n",
        "@@include: [x.yaml]\nroutes:\n",
        "an included file may hold only agents, grants, issuers",
    ),
    ("  drain: 5s", "  drain: 5s\n@@  drain: 6s", "this key is already on line 5"),
    ("  public:\n", "@@  finance-pay:\n", "this key is already on line 27"),
    (
        "    audiences: [https://mcp.corp.example/finance]\n",
        "",
        "issuers[0].audiences: is required",
    ),
    ("trust_domains: [corp.example]\n", "", "trust_domains: is required"),
    ("      methods: [POST]\n", "", "finance-pay[0].methods: is required"),
    # headers that can't be removed
    (
        "cache: {entries: 5000}",
        "@@headers: {remove: [host]}",
        "headers.remove[0]: a request can't do without host",
    ),
    (
        "cache: {entries: 5000}",
        "@@headers: {remove: [content-*]}",
        "a request can't do without content-length",
    ),
    (
        "cache: {entries: 5000}",
        "@@headers: {remove: [x-a, dpop]}",
        "headers.remove[1]: dpop is removed with the token",
    ),
    (
        "cache: {entries: 5000}",
        "@@headers: {remove: [x-agent-id]}",
        "it is one of the identity headers",
    ),
    (
        "cache: {entries: 5000}",
        "@@headers: {remove: [authorization]}",
        "token.forward says whether it stays",
    ),
    ("cache: {entries: 5000}", "@@headers: {remove: ['auth*']}", "authorization carries the token"),
    (
        "cache: {entries: 5000}",
        "@@headers: {remove: [X-User]}",
        "headers.remove[0]: 'X-User' is invalid",
    ),
    ("cache: {entries: 5000}", "@@headers: {remove: ['*']}", "headers.remove[0]: '*' is invalid"),
    (
        "cache: {entries: 5000}",
        "@@headers: {remove: [x-a-b-c-d-e-f-g-h]}",
        "or its beginning with '*'",
    ),
    (
        "cache: {entries: 5000}",
        "@@headers: {prefix: x-}",
        "which allowed requests would lose: choose a longer one",
    ),
    # the wrong kind of value
    ("trust_domains: [corp.example]", "@@trust_domains: corp.example", "write [corp.example]"),
    ("hosts: [mcp.corp.example]", '@@hosts: "*"', 'must be a list, not text: write ["*"]'),
    ("trust_domains: [corp.example]", "@@trust_domains:", "is empty; it must be a list"),
    ("trust_domains: [corp.example]", "@@trust_domains: [1.5]", "must be text, not a number"),
    ("trust_domains: [corp.example]", "@@trust_domains: []", "must not be empty"),
    ("[finance-read, public]", "@@finance-read", "must be a list, not text: write [finance-read]"),
    (
        "[finance-read, public]",
        "@@[1.0]",
        "must be text, not a number with a point: put it in quotes",
    ),
    ("[finance-read, public]", "@@[true]", "must be text, not true or false: put it in quotes"),
    ("[finance-read, public]", "@@", "is empty; it must be a list"),
    ("[finance-read, public]", "@@{a: b}", "must be a list, not a mapping"),
    ("hosts: [mcp.corp.example]", "@@hosts: mcp.corp.example", "write [mcp.corp.example]"),
    ("issuer: https://as.corp.example\n", "issuer: @@5\n", "must be text, not a number"),
    ("issuer: https://as.corp.example\n", "issuer: @@[a]\n", "must be text, not a list"),
    ("issuer: https://as.corp.example\n", "issuer: @@''\n", "must not be empty"),
    (
        "    keys: {",
        "    keys: @@http://x #",
        "must be a mapping, not text; its keys: allow_any_address",
    ),
    ('paths: ["/finance/payments/{id}"]', "paths: [@@{id}]", "put what begins with {"),
    ("  default: {certificate: required}", "@@  default: required", "not text; its keys: callers"),
    (
        "cache: {entries: 5000}",
        "@@cache: 5000",
        "must be a mapping, not a number; its keys: deny_ttl",
    ),
    (
        "cache: {entries: 5000}",
        "@@cache: {entries: '5000'}",
        "must be a whole number such as 5, not text: without quotes",
    ),
    ("cache: {entries: 5000}", "@@cache: {entries: 50.5}", "not a number with a point"),
    ("cache: {entries: 5000}", "@@cache: {entries: -1}", "must be at least 0"),
    (
        "cache: {entries: 5000}",
        "@@cache: {entries: 5k}",
        "must be a whole number such as 5, not text",
    ),
    ("  drain: 5s", "@@  drain: 5", "a duration must be a whole number and a unit"),
    ("  drain: 5s", "  drain: 5s\n@@  notice: 6s", "it is a part of drain, which is 5s"),
    ("  drain: 5s", "@@  drain: 5 s", "such as 250ms, 30s, 5m, 1h, 1d"),
    ("  drain: 5s", "@@  drain: 1h", "must be at most 5m"),
    ("cooldown: 1s", "@@cooldown: 10ms", "must be at least 1s"),
    ("refresh: 60s", "@@refresh: 60", "a duration must be a whole number and a unit"),
    ("  drain: 5s", "  drain: 5s\n@@  pin: yes", "must be true or false: write true, not yes"),
    ("  drain: 5s", "  drain: 5s\n@@  pin: 'true'", "without quotes"),
    ("suspended: true", "@@suspended: on", "must be true or false: write true, not on"),
    ("suspended: true", "@@suspended: off", "must be true or false: write false, not off"),
    ("suspended: true", "@@suspended: False", "write false, in small letters"),
    ("suspended: true", "@@suspended: 1", "must be true or false"),
    ("insecure: true", "@@insecure: no", "must be true or false: write false, not no"),
    # words and patterns
    ("certificate: required", "@@certificate: require", "did you mean required?"),
    ("certificate: required", "@@certificate: never", "must be 'optional' or 'required'"),
    ('audit: {path: "-"}', "@@audit: {when_full: maybe}", "must be 'drop' or 'deny'"),
    ("[ES256, RS256, PS256, Ed25519]", "@@[HS256]", "HS256 is never accepted"),
    ('"127.0.0.1:9192"', "@@'9192'", 'it must be an address with a port, such as "127.0.0.1:9192"'),
    ('"unix:/run/authz/authz.sock"', "@@nonsense", 'such as "unix:/run/authz/authz.sock"'),
    ('"unix:/run/authz/authz.sock"', "@@'http://127.0.0.1:9191'", 'such as "unix:/run/authz'),
    ('"unix:/run/authz/authz.sock"', "@@'127.0.0.1:91910'", "no port 91910: the last is 65535"),
    ('"127.0.0.1:9192"', "@@'http://127.0.0.1:9192'", 'such as "127.0.0.1:9192"'),
    ('"127.0.0.1:9192"', "@@'127.0.0.1:99192'", "there is no port 99192: the last is 65535"),
    ("methods: [POST]", "@@methods: [post]", "'post' is invalid: it must be a method"),
    ('["payments:write"]', '@@["payments write"]', "it must be one word"),
    ("  public:\n", "@@  pub lic:\n", "grants.pub lic: 'pub lic' is invalid: it must be"),
    ("name: finance,", "@@name: fin/ance,", "a name of letters, digits"),
    ("paths: [/public/**]", "@@paths: [public]", "must start with '/'"),
    ("hosts: [mcp.corp.example]", "@@hosts: [MCP.corp.example]", "lower case"),
    ("hosts: [mcp.corp.example]", "@@hosts: []", "must not be empty"),
    ('"http://127.0.0.1:1/jwks"', "@@'https://a:x/'", "a numeric port"),
    ('"http://127.0.0.1:1/jwks"', "@@'https://[::/'", "a URL with a host"),
    (
        "  - issuer: https://as.corp.example\n    keys: {jwks_uri",
        "@@  - issuer: as.corp.example\n    keys: {discovery: true}\n    #",
        "issuers[0].issuer: with discovery the issuer must be an https:// URL",
    ),
    # references
    (
        "issuer: https://as.corp.example,",
        "@@issuer: https://as.corp.exmple,",
        "did you mean https:",
    ),
    ("[finance-read, public]", "@@[finance-raed, public]", "did you mean finance-read?"),
    ("[finance-read, public]", "@@[xyz, public]", "known: finance-pay, finance-read, public"),
    ("sa/payments\n", "@@sa/travel\n", "sa/travel is already defined on line 9"),
    (
        "name: finance,",
        "name: finance}\n@@  - {name: finance,",
        "finance is already defined on line 2",
    ),
    ("id: spiffe://corp.example/ns/agents/sa/travel", "@@id: spiffe://x/y", "trust_domains"),
    ("subjects: [alice]", "@@subjects: []", "an empty list matches nobody"),
    ("subjects: [alice]", "@@subjects: ['*']", "not a pattern; leave subjects out to match any"),
    # YAML
    ("  drain: 5s", "@@\tdrain: 5s", "a tab: YAML is indented with spaces only"),
    ("suspended: true", "\n@@\tsuspended: true", "a tab"),
    ("  drain: 5s", "@@   drain: 5s", "keys must start in the column of the first one on line 4"),
    ("  drain: 5s", "@@ drain: 5s", "keys must start in the column of the first one on line 1"),
    ("    suspended: true", "@@     suspended: true", "of the first one on line 13"),
    ("    suspended: true", "@@   suspended: true", "of the first one on line 9"),
    ("trust_domains: [corp.example]", "@@trust_domains: ['a'b]", "must stand in quotes"),
    ("  drain: 5s", "@@  drain 5s", "a key and ': ' are expected here"),
    ("  drain: 5s", "@@  drain: '5s", "the quote that opens here is never closed"),
    ("  - match: {issuer", "   - match: {issuer", "of the first one on line 17"),
    (
        "  - id: spiffe://corp.example/ns/agents/sa/payments",
        "@@   - id: x",
        "items begin with '- '",
    ),
    ("trust_domains: [corp.example]", "@@trust_domains: [corp.example", "does not end with ]"),
    ("subjects: [alice]}", "@@subjects: [alice]", "the mapping that begins here with {"),
    ('paths: ["/finance/payments/{id}"]', "@@paths: [/pay/{id}]", "must stand in quotes"),
    ('hosts: ["*"]', "@@hosts: [*]", "a text that begins with * or & must stand in quotes"),
    ('hosts: ["*"]', "@@hosts: [*any]", "A text that begins with * must stand in quotes"),
    ("paths: [/public/**]", "@@paths: [@public]", "begins with @ must stand in quotes"),
    ("[finance-read, public]", "@@&g [finance-read, public]", "anchors, aliases and merge keys"),
    ("suspended: true", "@@<<: {suspended: true}", "anchors, aliases and merge keys"),
    ("suspended: true", "@@suspended: !!bool true", "tags such as tag:yaml.org,2002:bool"),
    ("  drain: 5s", "@@  drain: !secret x", "tags such as !secret are not accepted"),
    ("  public:\n", "@@  ? [a]\n  : b\n  public:\n", "a key must be plain text"),
    ("audit:", "@@---\naudit:", "a second document"),
    ("grants:\n", "@@---\ngrants:\n", "a second document"),
    ("[finance-read, public]", "@@" + "[" * 100_000, "nested deeper than 32 levels"),
    ("trust_domains: [corp.example]", "@@trust_domains: " + "{a: " * 50, "nested deeper"),
    ("suspended: true", '@@suspended: "\\q"', "use single quotes"),
    ("suspended: true", "@@suspended: \x01", "the control character U+0001"),
    ("suspended: true", '@@description: "a\\0b"', "the control character U+0000"),
    ("suspended: true", '@@"suspended\\x00": true', "the control character U+0000"),
    ("  drain: 5s", "  drain: 5s\n@@%x", "a line must not begin with %"),
]


def broken(folder: Path, old: str, new: str) -> tuple[str, int | None, list[str]]:
    """The file in which something was replaced, the line of ``HERE``, and what is told of it."""
    texts = dict(zip(("authz.yaml", INCLUDED), halves(), strict=True))
    name = next(name for name, text in texts.items() if old in text)
    text = texts[name].replace(old, new, 1)
    line = text[: text.find(HERE)].count("\n") + 1 if HERE in text else None
    texts[name] = text.replace(HERE, "")
    return name, line, problems(folder, *texts.values())


@pytest.mark.parametrize(("old", "new", "words"), BROKEN)
def test_one_mistake(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A mistake is told at its line of its file, in an operator's words, and nothing besides."""
    name, line, found = broken(tmp_path, old, new)

    assert all(one.startswith(f"{name}:") or "is required" in one for one in found), found
    assert not any(_FOREIGN.search(one) for one in found), found
    assert any(words in one for one in found), found
    assert line is None or any(one.startswith(f"{name}:{line}: ") for one in found), (line, found)


DENY = (
    "  public:\n    - effect: deny\n      hosts: ['*']\n      methods: ['*']\n      paths: [/**]\n"
)
PLAIN = "    - hosts: [a]\n      methods: [POST]\n      paths: [/a]\n      scopes: []\n"
WINDOW = "      during:\n        - not_before: 2027-01-01T00:00:00Z\n"
# Of the same form: one key of a section that only the rest of the section shows to be wrong, and
# what could be missed, or found wrong, besides.
ALONE = [
    # a key that does not fit its section
    (
        'keys: {jwks_uri: "http://127.0.0.1:1/jwks", insecure: true,',
        'keys: {\n@@      jwks_uri: "http://127.0.0.1:1/jwks",',
        "keys.jwks_uri: over plain http",
    ),
    ("  public:\n", f"{DENY}\t", "grants.public[0]: not YAML"),
    (
        "cache: {entries: 5000}",
        "pdp:\n  timeout: 9ms\n@@  url: http://p/x",
        "pdp.url: over plain http",
    ),
    ("  drain: 5s", "  drain: 5s\n  workers: 2", "server.listen: with several workers"),
    ("certificate: required", "certificate: required,\n@@    hops: 2", "default.hops: trusted_pr"),
    ("certificate: required", "hops: 2,\n@@    identity: xfcc", "trusted_proxies must list"),
    (
        "  - {name: finance,",
        "  - name: z\n@@    refusals: message\n  - {name: finance,",
        "protocol",
    ),
    ("subjects: [alice]", "\n@@    groups: []", "match.groups: an empty list matches nobody"),
    ("subjects: [alice]", "subjects: [a,\n@@    '*']", 'subjects[1]: "*" is not a pattern'),
    ("subjects: [alice]", "\n@@    subjects: ['spiffe://x/a*']", "subjects[0]: '*' stands for"),
    ("  public:\n", f"{DENY}@@      max_age: 1h\n", "public[0].max_age: max_age limits an allow"),
    ("  public:\n", f"{DENY}@@      via: []\n", "public[0].via: [] in a deny matches no chain"),
    (
        "  public:\n",
        f"{DENY}      mcp: {{tools: [x]}}\n@@      a2a: {{methods: [x]}}\n",
        "a2a: mcp and",
    ),
    ("  public:\n", f"{DENY}@@      mcp: {{}}\n", "public[0].mcp: names nothing to deny"),
    (
        "  public:\n",
        f"{DENY}{WINDOW}@@          not_after: 2026-01-01T00:00:00Z\n",
        "during[0].not_after: not_after is not after not_before",
    ),
    (
        "      paths: [/public/**]\n",
        "      paths: [/public/**]\n      mcp:\n@@        methods: [tools/call]\n",
        "public[0].mcp.methods[0]: rules match tools/call by what it names",
    ),
    # a text of several lines
    (
        "  public:\n",
        f"{DENY}      when: |\n        true &&\n\n@@        (agnt.id == '')\n",
        "when: l",
    ),
    ("  public:\n", f"{DENY}      when: >- # why\n        true\n@@        = true\n", "write =="),
    ("  public:\n", f"{DENY}      when:\n        true\n@@        && agnt.id == ''\n", "did you"),
    ("  public:\n", f"{DENY}      when: 'true\n@@        && agnt.id == \"x\"'\n", "did you"),
    ("  public:\n", f"{DENY}@@      when: 'agnt.id == ''x'' &&\n        true'\n", "did you mean"),
    # what no request is
    (
        "methods: [POST]",
        "@@methods: [PSOT]",
        "PSOT is not a known method; did you mean PO",
    ),
    ("methods: [POST]", "@@methods: [ANY]", 'ANY is not a method: write "*" for any'),
    ("paths: [/public/**]", "@@paths: ['/a?b=1']", "rules see no query and no fragment"),
    ("paths: [/public/**]", "@@paths: ['/a#b']", "rules see no query and no fragment"),
    (
        "paths: [/public/**]",
        "@@paths: ['/a/x-{id}']",
        "a variable must be a whole segment, as {id}",
    ),
    ("paths: [/public/**]", "@@paths: ['/a/:id/b']", "write {id}; a colon itself is written %3A"),
    (
        "  public:\n",
        f"{DENY}      a2a:\n@@        methods: [message/send]\n",
        "public[0].a2a.methods[0]: A2A 1.0 calls message/send SendMessage: write SendMessage",
    ),
    # names of trust domains
    ("[corp.example]", "@@[spiffe://corp.example]", "trust_domains[0]: a trust domain has only"),
    (
        "spiffe://corp.example/ns/agents/sa/travel",
        "@@spiffe://corp.exampel/ns/*/sa/travel",
        "agents[0].id: corp.exampel is not one of trust_domains; did you mean corp.example?",
    ),
    (
        "subjects: [alice]}",
        "subjects: [alice]}\n@@    agents: [spiffe://corp.exampel/a]",
        "principals[0].agents[0]: corp.exampel is not one of trust_domains",
    ),
    (
        "    algo",
        "    actor:\n      claim: azp\n@@      map: {b: spiffe://corp.exampel/b}\n    algo",
        "issuers[0].actor.map.b: corp.exampel is not one of trust_domains; did you mean",
    ),
    (
        "certificate: required",
        "@@certificate: required, trust_domains: [corp.exampel]",
        "profiles.default.trust_domains[0]: corp.exampel is not one",
    ),
    # what a condition can't read
    (
        "  public:\n",
        f"{DENY}      when: |\n        true\n@@        && claims.level > 1\n",
        "public[0].when: conditions.claims does not list level, so that it is never there",
    ),
    ("  public:\n", f"{DENY}      when: 'has(claims.x)'\n", "conditions.claims does not list x"),
    ("  public:\n", f"{DENY}      when: '\"x\" in claims'\n", "conditions.claims does not list x"),
    (
        "  public:\n",
        f"{DENY}      when: '[1].exists(i, claims[\"x\"] == i)'\n",
        "all and exists must not use",
    ),
    (
        "  public:\n",
        f"  public:\n{PLAIN}@@      when: operation.arguments.price < 5\n",
        "only calls have operation.arguments: name the calls in mcp, a2a, models",
    ),
    (
        "  public:\n",
        f'{DENY}      when: \'request.headers["x-a"] == "1"\'\n',
        "conditions.headers does not list x-a",
    ),
    (
        "cache: {entries: 5000}",
        "conditions:\n@@  claims: [/realm_access/roles]",
        "conditions.claims[0]: conditions read whole claims: write realm_access",
    ),
    (
        "  public:\n",
        f"{DENY}      when: >\n        'email' != ''\n@@        && claims.mail == ''\n",
        "conditions.claims does not list mail",
    ),
    # YAML
    (
        "    grants: [finance-read]\n    suspended",
        "@@\u00a0   grants: [finance-read]\n    suspended",
        "not YAML: the line begins with U+00A0, which looks like a space",
    ),
    ('["balance:read"]', '@@["balance:read]', "a quote in it does not end"),
    (
        "hosts: [mcp.corp.example]",
        "@@hosts: [mcp.corp.example]]",
        "after a closing quote or bracket",
    ),
    ("    suspended: true", "@@    <<: *base", "anchors, aliases"),
    ("include: [", "include: [@@!x none.yaml, ", "include[0]: tags such as !x"),
    ("include: [", "@@includes: [", "includes: unknown key; did you mean include?"),
    (
        "subjects: [alice]",
        "@@claims: {level: [1.5]}",
        "level[0]: must be text, a whole number, true",
    ),
    ("subjects: [alice]", "@@claims: {level: [~]}", "level[0]: must be text, a whole number, true"),
    ("include: [policy.d/team.yaml]", "@@include: policy.d/team.yaml", "include: must be a list"),
    (
        "  finance-pay:\n",
        "finance-pay:\n",
        "in the column of the first one on line 1, and of the last one on line 27",
    ),
    # a slip is not missed besides
    ("trust_domains:", "@@trust_domians:", "trust_domians: unknown key; did you mean"),
    ("      methods: [POST]\n", "@@      method: [POST]\n", "finance-pay[0].method: unknown key"),
    # what has no good shape is not looked up besides
    ('resource: "https://', 'resource: "@@', "a resource must be an https URL"),
]


@pytest.mark.parametrize(("old", "new", "words"), ALONE)
def test_one_line_a_mistake(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A mistake is told once, at the key that is wrong, and nothing that follows from it."""
    name, line, found = broken(tmp_path, old, new)

    assert len(found) == 1, found
    assert words in found[0]
    assert line is None or found[0].startswith(f"{name}:{line}: "), (line, found)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("claims.level > 2 && has(claims.a.b)", None),
        ("claims.exists(name, name == 'x')", None),
        ("claims.levl > 2", "conditions.claims does not list levl, .*; did you mean level[?]"),
        ("request.headers['x-tenent'] == ''", "list x-tenent, .*; did you mean x-tenant[?]"),
    ],
)
def test_conditions_read_what_is_listed(condition: str, words: str | None) -> None:
    """A condition on a claim or a header that is not listed never had a value: it is an error."""
    listed = "conditions: {claims: [level, a], headers: [x-tenant]}\n"
    text = GOOD.replace("scopes: []", f'scopes: []\n      when: "{condition}"') + listed
    if words is None:
        assert load_text(text.encode(), "f").conditions.claims
        return
    with pytest.raises(ConfigError, match=words):
        load_text(text.encode(), "f")


def test_mistakes_beside_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    """What can be seen to be wrong is told beside it, and nothing is missed that may be in it."""
    main, included = halves()
    found = problems(tmp_path, main.replace("drain: 5s", "drain: 5"), f"{included}\t")

    assert [one.partition(": ")[0] for one in found] == ["authz.yaml:5", f"{INCLUDED}:37"]


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    """What the YAML hides is not missed besides."""
    main, included = halves()
    found = problems(tmp_path, main, included.replace("suspended: true", "suspended: *no"))

    assert len(found) == 1
    assert found[0].startswith(f"{INCLUDED}:15: agents[2].suspended: anchors")


WHOLE = {
    "empty": (b"", 1, "the file is empty"),
    "comments only": (b"# nothing yet\n", 1, "the file is empty"),
    "null": (b"null\n", 1, "a mapping"),
    "a list": (b"- a\n", 1, "a mapping"),
    "text": (b"hello\n", 1, "a mapping"),
    "Latin-1": (b"agents: []\n# caf\xe9\n", 2, "byte 0xe9; save the file as UTF-8"),
    "UTF-16": ("agents: []\n".encode("utf-16"), 1, "UTF-16: save it as UTF-8"),
    "two documents": (b"agents: []\n---\nagents: []\n", 2, "a second document"),
    "after the end": (b"agents: []\n...\nx: 1\n", 3, "after the document's end"),
    "JSON cut off": (b'{"agents": [\n', 2, "a value is expected here"),
    "deep": (b"[" * 100_000, 1, "nested deeper than 32 levels"),
    "deep keys": (b"{a: " * 100_000, 1, "nested deeper than 32 levels"),
    "deep dashes": (b"- " * 100_000, 1, "nested deeper than 32 levels"),
    "a bomb": (b"a: &a [x, x]\nb: &b [*a, *a]\n", 1, "anchors, aliases"),
}


@pytest.mark.parametrize("name", [INCLUDED, "authz.yaml"])
@pytest.mark.parametrize("what", WHOLE)
def test_no_config_at_all(tmp_path: Path, what: str, name: str) -> None:
    """A file that is none is told as such, whichever of the two it is."""
    data, line, words = WHOLE[what]
    texts: dict[str, str | bytes] = dict(zip(("authz.yaml", INCLUDED), halves(), strict=True))
    texts[name] = data
    found = problems(tmp_path, *texts.values())

    assert not any(_FOREIGN.search(one) for one in found), found
    assert any(one.startswith(f"{name}:{line}: ") and words in one for one in found), found


def test_what_is_no_mistake(tmp_path: Path) -> None:
    """Both halves are good: with a byte order mark, with Windows' line ends, and as they are."""
    main, included = halves()
    (tmp_path / "policy.d").mkdir()
    for before, end in (("", "\n"), ("\ufeff", "\n"), ("", "\r\n")):
        (tmp_path / "authz.yaml").write_bytes((before + main).replace("\n", end).encode())
        (tmp_path / INCLUDED).write_bytes((before + included).replace("\n", end).encode())
        config = load(tmp_path / "authz.yaml")
        assert len(config.agents) == 3
        assert set(config.grants) == {"finance-read", "finance-pay", "public"}


def test_every_pattern_has_words() -> None:
    """What a pattern of the config asks for is told in words, not as a pattern."""
    assert set(_patterns(schema())) - {"^[0-9]{1,9}(ms|s|m|h|d)$"} <= set(PATTERNS)


def _patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(pattern := node.get("pattern"), str):
            yield pattern
        yield from node.get("patternProperties", {})
        for inner in node.values():
            yield from _patterns(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _patterns(inner)


GOOD = "".join(halves()).partition("\n")[2]
SCRAPS = [
    "",
    " ",
    "\t",
    "\n",
    ":",
    "- ",
    "[",
    "}",
    "'",
    '"',
    "*",
    "&",
    "!",
    "#",
    "5",
    "1.5",
    "no",
    "null",
    "~",
    "\x00",
]


@settings(max_examples=300)
@given(st.integers(0, len(GOOD)), st.integers(0, 20), st.sampled_from(SCRAPS))
def test_any_slip_of_the_hand(at: int, gone: int, scrap: str) -> None:
    """However a good config is damaged: it is taken, or refused in an operator's words."""
    try:
        load_text((GOOD[:at] + scrap + GOOD[at + gone :]).encode(), "f")
    except ConfigError as error:
        told = list(error.lines())
        assert told
        assert not any(_FOREIGN.search(one) for one in told), told
        assert all(re.match(r"f:[0-9]+: ", one) for one in told)


def test_each_problem_is_one_line(tmp_path: Path) -> None:
    """A key with line breaks, or without end, is told in one line that ends."""
    main, included = halves()
    wrong = '"a\\nb\\e[2J": 5\n' + "x" * 900 + ": 5\n" + f'? "{"y" * 9000}"\n: 5\n'
    found = problems(tmp_path, main, included + wrong)

    assert len(found) == 3
    assert found[0].startswith(f"{INCLUDED}:37: a\\nb\\x1b[2J: an included file may hold")
    assert all(len(one) < 1100 and one.isprintable() for one in found)


def test_very_many_problems(tmp_path: Path) -> None:
    """Of very many problems the first are told, and how many more there are."""
    main, included = halves()
    wrong = "".join(f"  x{n}: 5\n" for n in range(1000))
    found = problems(tmp_path, main, included.replace("grants:\n", f"grants:\n{wrong}"))

    assert len(found) == 201
    assert found[-1] == "authz.yaml: and 800 more problems"
