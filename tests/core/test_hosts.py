"""Hosts in the config: what is written, what it matches, and how patterns relate."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.hosts import (
    common_patterns,
    cover_all,
    covers,
    host_pattern,
    is_domain_pattern,
    matching_patterns,
)
from authz.core.policy import RuleSettings
from authz.core.policy.rules import Rule, RuleSet
from authz.core.policy.settings import ConditionSettings
from authz.core.request import Operation, Request, canonical_host
from authz.core.routes import Routes, RouteSettings
from lab.config_builder import AT_PUBLIC_RULE, LAB
from support.world import World, reason_of


def fits(pattern: str, host: str) -> bool:
    """Whether a pattern fits, by what the docs say of ``*`` and ``**``."""
    label, labels = "[^.]+", r"[^.]+(\.[^.]+)*"
    made = re.escape(pattern).replace(r"\*\*", labels).replace(r"\*", label)
    is_address = host.startswith("[") or host.rpartition(".")[2].isdigit()
    return pattern == "*" or (
        bool(re.fullmatch(made, host)) and not ("*" in pattern and is_address)
    )


LABELS = st.lists(st.sampled_from(["a", "b", "corp", "1"]), min_size=1, max_size=5)
HOSTS = LABELS.map(".".join)
DOMAINS = st.lists(st.sampled_from(["a", "b", "corp"]), min_size=2, max_size=4).map(".".join)
PATTERNS = st.one_of(HOSTS, DOMAINS.map("*.".__add__), DOMAINS.map("**.".__add__), st.just("*"))


@pytest.mark.parametrize("text", ["*", "a", "a.example", "10.0.0.1", "[::1]", "a_b"])
def test_exact_hosts(text: str) -> None:
    """A host of a rule is kept as it is compared."""
    assert host_pattern(text) == text
    assert not is_domain_pattern(text)


@pytest.mark.parametrize(
    "text",
    ["*.corp.example", "**.corp.example", "*.a-b.x_y.xn--p1ai", "*.internal", "**.internal"],
)
def test_hosts_below_a_domain(text: str) -> None:
    """A wildcard stands for whole labels, in front of a domain."""
    assert host_pattern(text) == text
    assert is_domain_pattern(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        *(
            ("", "plain name"),
            ("A", "lower case"),
            ("a:80", "port: a"),
            ("[::1]:80", "without a port"),
        ),
        ("u@a", "stands alone"),
        *((bad, "plain name") for bad in ("a.", "a,b", "a\n", "caf\u00e9", ".corp.example")),
        *((bad, r"\*\.corp\.example for one label") for bad in ("**", "a*", "t*.corp.example")),
        *((bad, "in front") for bad in ("a.*.example", "a.*", "***.corp.example", "*corp.example")),
        *((bad, "in front") for bad in ("*.*.corp.example", "**.*.corp.example", "*.**.a.example")),
        *(
            (bad, "plain name")
            for bad in ("*.", "**.", "*.a.example.", "*..example", "*.caf\u00e9")
        ),
        *((bad, "lower case") for bad in ("*.Corp.example", "**.corp.example:443")),
        *((bad, r"as \*+\.corp\.com") for bad in ("*.com", "**.com")),
        *((bad, "IP address") for bad in ("*.0.0.1", "**.1", "*.[::1]", "*.corp.0x7f", "*.a-.b")),
    ],
)
def test_hosts_that_are_refused(text: str, hint: str) -> None:
    """A host that no request's could equal, or too many could, is an error that says what to do."""
    with pytest.raises(ValueError, match=hint):
        host_pattern(text)


@given(PATTERNS, HOSTS)
def test_what_a_pattern_matches(pattern: str, host: str) -> None:
    """``*`` is one label, ``**`` one or more; nothing less than labels, and never an address."""
    assert host_pattern(pattern) == pattern
    assert (pattern in matching_patterns(host)) == fits(pattern, host)
    assert covers(pattern, host) == fits(pattern, host)


@given(PATTERNS, PATTERNS)
def test_a_pattern_covers_another(outer: str, inner: str) -> None:
    """It does so exactly where a label more, on either side of the wildcard, changes nothing."""
    samples = [inner.replace("**", some).replace("*", "x") for some in ("x", "x.y", "x.y.z")]
    if inner == "*":
        samples += ["a", "other.example", "10.0.0.1"]

    assert covers(outer, inner) == all(fits(outer, sample) for sample in samples)


@given(st.lists(PATTERNS, max_size=3), st.lists(PATTERNS, max_size=3), HOSTS)
def test_common_patterns(some: list[str], others: list[str], host: str) -> None:
    """A host fits what two lists have in common exactly when it fits both, and no pattern twice."""
    common = common_patterns(some, others)

    is_of_both = cover_all(some, [host]) and cover_all(others, [host])
    assert cover_all(common, [host]) == is_of_both
    assert not any(covers(one, other) for one in common for other in common if one != other)


@given(HOSTS)
def test_the_most_exact_comes_first(host: str) -> None:
    """Of the patterns that match a host, each is covered by those that come after it."""
    listed = list(matching_patterns(host))

    assert listed[0] == host
    assert all(covers(later, one) for at, one in enumerate(listed) for later in listed[at:])


@given(st.lists(st.lists(PATTERNS, min_size=1, max_size=2), min_size=1, max_size=6), HOSTS)
def test_a_set_finds_what_a_scan_finds(listed: list[list[str]], host: str) -> None:
    """Rules are found by their hosts' patterns, in the order of the most exact that fits."""
    settings = [
        RuleSettings(hosts=tuple(hosts), methods=("GET",), paths=("/**",), scopes=())
        for hosts in listed
    ]
    rules = RuleSet(
        [Rule.of(f"g/{at}", one, ConditionSettings()) for at, one in enumerate(settings)]
    )
    operation = Operation("GET", host, ("x",))
    found = dict.fromkeys(int(rule.name[2:]) for rule in rules.find(operation))

    order = list(matching_patterns(host))
    fitting = {
        at: min(order.index(pattern) for pattern in hosts if fits(pattern, host))
        for at, hosts in enumerate(listed)
        if any(fits(pattern, host) for pattern in hosts)
    }
    assert list(found) == sorted(fitting, key=lambda at: (fitting[at], at))
    for at, rule in enumerate(rules.rules):
        assert (rule.unmet_by_target(operation) == ()) == (at in fitting)


@given(st.lists(st.lists(PATTERNS, min_size=1, max_size=2), min_size=1, max_size=5), HOSTS)
def test_the_first_route_that_fits(listed: list[list[str]], host: str) -> None:
    """Of several routes that fit, the first one counts, however exact its hosts are."""
    routes = Routes(
        RouteSettings(name=f"r{at}", hosts=tuple(hosts)) for at, hosts in enumerate(listed)
    )
    _, route = routes.read(Request("GET", f"{host.upper()}:8443", "/x"))

    fitting = [f"r{at}" for at, hosts in enumerate(listed) if any(fits(p, host) for p in hosts)]
    assert route.name == (fitting[0] if fitting else "")


@pytest.mark.parametrize("host", ["10.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "localhost", "1"])
def test_addresses_and_short_names(host: str) -> None:
    """No pattern that may be written, but the host itself and any host, matches such a host."""
    for pattern in matching_patterns(canonical_host(host)):
        if pattern in (host, "*"):
            assert host_pattern(pattern) == pattern
        else:
            with pytest.raises(ValueError, match=r"IP address|plain name"):
                host_pattern(pattern)


CHANGES = (
    LAB.with_routes("""\
- {name: closed, hosts: ["*.closed.corp.example"], modes: [autonomous]}
- {name: tenants, hosts: ["**.corp.example"], accept_ambiguous: [parameters]}
""")
    .with_((*AT_PUBLIC_RULE, "hosts"), ["*.tenants.corp.example", "**.corp.internal"])
    .with_((*AT_PUBLIC_RULE, "paths"), ["/**"])
    .with_rules(
        "finance-read",
        "- {effect: deny, hosts: ['**.bad.tenants.corp.example', '*.bad.corp.internal'],"
        " methods: ['*'], paths: [/**]}",
    )
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core whose routes and rules are about the hosts of domains."""
    with World(tmp_path_factory.mktemp("hosts"), CHANGES) as world:
        yield world


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("t1.tenants.corp.example", "allow"),
        ("T1.Tenants.corp.example:8443", "allow"),
        ("a_b.tenants.corp.example", "allow"),
        ("x.y.corp.internal", "allow"),
        ("tenants.corp.example", "policy_denied"),
        ("corp.internal", "policy_denied"),
        ("a.t1.tenants.corp.example", "policy_denied"),
        ("xtenants.corp.example", "policy_denied"),
        ("t1.tenants.corp.example.evil.example", "policy_denied"),
        ("t1.tenants.corp.examples", "policy_denied"),
        ("a.bad.corp.internal", "policy_denied"),  # a deny
        ("a.b.bad.corp.internal", "allow"),
        ("x.closed.corp.example", "actor_not_permitted"),  # of a route where agents act alone
        ("t1.tenants.corp.example.", "path_ambiguous"),
        (".tenants.corp.example", "path_ambiguous"),
        ("..tenants.corp.example", "path_ambiguous"),
        ("*.tenants.corp.example", "path_ambiguous"),
        ("t1%2Etenants.corp.example", "path_ambiguous"),
        ("t1.tenants.corp.example,x", "path_ambiguous"),
    ],
)
def test_requests_to_hosts_of_a_domain(world: World, host: str, reason: str) -> None:
    """Hosts are read as ever; then whole labels decide, in allows, denies and routes."""
    assert reason_of(world.ask(world.token(), host=host)) == reason


def test_the_route_of_a_domain(world: World) -> None:
    """What the route of a domain accepts is accepted below the domain only."""
    rows = {"t1.tenants.corp.example": "allow", "x.corp.internal": "path_ambiguous"}
    token = world.token()

    assert {h: reason_of(world.ask(token, host=h, path="/a;v=1")) for h in rows} == rows
