"""Each finding of the doctor: the presentation that earns it, and the nearest one that does not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from authz.config import Config, load
from authz.edge.presentation import (
    BodySeen,
    HeadersSeen,
    IdentitySeen,
    Kept,
    Presentation,
    XfccSeen,
)
from authz.review.doctor import Diagnosis, Severity, diagnose
from authz.review.doctor.server import server_findings
from authz.wiring.policy_version import compute_policy_version
from lab.config_builder import AT_ISSUER, LAB, ConfigBuilder
from lab.mesh import GATEWAY, TRAVEL
from support.verbs import edit, write_config

WAYPOINT = "spiffe://corp.example/ns/istio-system/sa/waypoint"
CHANGES = (
    LAB.with_routes("- {name: trips, paths: [/trips/**], protocol: mcp}")
    .with_(("profiles", "default"), {"certificate": "optional"})
    .with_profile("strict", "{certificate: required}")
    .with_profile("hops", f"{{identity: xfcc, trusted_proxies: ['{GATEWAY}']}}")
    .with_profile("ours", f"{{callers: ['{WAYPOINT}']}}")
    .with_profile("gateway", "{identity: metadata}")
    .with_profile("both", f"{{identity: xfcc, trusted_proxies: ['{GATEWAY}'], direct: true}}")
    .with_profile("limited", "{max_request_bytes: 50}")
)
NAMES = (":authority", ":method", ":path", "authorization")
GOOD = Presentation(
    "ext_authz",
    profile="default",
    profile_by="default",
    method="GET",
    identity=IdentitySeen(TRAVEL, "spiffe", "svid", agent=TRAVEL),
    headers=HeadersSeen("raw", len(NAMES), NAMES, ("authorization",)),
    id_form="decimal",
    has_time=True,
    decision="allow",
)
MESSAGE = {
    "route": "trips",
    "messages": "mcp",
    "method": "POST",
    "body": BodySeen("raw", 50, 50, 50),
}
GUARDRAILS = {
    "protocol": "guardrails",
    "profile": "gateway",
    "route": "trips",
    "messages": "mcp",
    "namespaces": ("agentgateway.source", "agentgateway.request"),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A config with a profile of each kind."""
    return configured(tmp_path_factory.mktemp("doctor"), CHANGES)


def configured(folder: Path, changes: ConfigBuilder) -> Config:
    """Load the lab's config with changes."""
    path = write_config(folder)
    edit(path, changes)
    return load(path)


def found(config: Config, changes: dict[str, Any], credentials: int = 1) -> Diagnosis:
    """Diagnose a good presentation with changes; those of a part are its own."""
    seen = GOOD
    for name, value in changes.items():
        if isinstance(value, dict):
            value = msgspec.structs.replace(getattr(seen, name), **value)  # noqa: PLW2901 - the part
        seen = msgspec.structs.replace(seen, **{name: value})
    return diagnose(config, [Kept(seen, with_credential=credentials)])


def codes(diagnosis: Diagnosis) -> set[str]:
    """Return the codes that were found."""
    return {finding.code for finding in diagnosis.findings}


REFUSED = {"agent": "", "reason": "agent_missing", "detail": "d"}
NO_PRINCIPAL = {"principal": "", "principal_form": "", **REFUSED}
ELEMENT = XfccSeen(1, (TRAVEL,), (GATEWAY,))
XFCC = {"profile": "hops", "profile_by": "extension"}
FINDINGS = [
    ("no_principal", "error", {"identity": NO_PRINCIPAL}),
    ("principal_form", "error", {"identity": {"principal_form": "subject", **REFUSED}}),
    (
        "no_certificate",
        "error",
        {"profile": "strict", "identity": {"certificate": "absent", **REFUSED}},
    ),
    ("certificate_invalid", "error", {"identity": {"certificate": "has expired", **REFUSED}}),
    ("caller_refused", "error", {"identity": REFUSED}),
    ("xfcc_ignored", "warning", {"identity": {"xfcc": XfccSeen(1, ("other",))}}),
    ("xfcc_ignored", "warning", {"identity": {"xfcc": XfccSeen(2, (TRAVEL, TRAVEL))}}),
    ("no_xfcc", "error", {**XFCC, "identity": REFUSED}),
    ("xfcc_unreadable", "error", {**XFCC, "identity": {"xfcc": XfccSeen(fault="x"), **REFUSED}}),
    (
        "xfcc_hops",
        "error",
        {**XFCC, "identity": {"xfcc": XfccSeen(2, (TRAVEL, GATEWAY), (GATEWAY,)), **REFUSED}},
    ),
    (
        "xfcc_without_uri",
        "error",
        {**XFCC, "identity": {"xfcc": XfccSeen(1, ("",), (GATEWAY,)), **REFUSED}},
    ),
    (
        "xfcc_untrusted",
        "error",
        {**XFCC, "identity": {"xfcc": XfccSeen(1, (TRAVEL,), (WAYPOINT,)), **REFUSED}},
    ),
    (
        "xfcc_unsigned",
        "error",
        {**XFCC, "identity": {**NO_PRINCIPAL, "xfcc": XfccSeen(1, (TRAVEL,))}},
    ),
    ("profile_unknown", "error", {"profile": "strickt", "identity": REFUSED}),
    (
        "profile_reserved",
        "error",
        {
            "profile": "ours",
            "identity": {**REFUSED, "detail": "the calling proxy may not use the profile"},
        },
    ),
    ("caller_without_profile", "warning", {"proxy": GATEWAY}),
    ("route_unknown", "error", {"named_route": "trip"}),
    ("extension_unknown", "warning", {"extensions": ("authz_profil",)}),
    ("headers_joined", "warning", {"headers": {"form": "joined"}}),
    ("headers_limited", "warning", {"headers": {"names": ("authorization",)}}),
    ("header_names", "warning", {"headers": {"names": (*NAMES, "x_tenant")}}),
    ("header_names", "warning", {"headers": {"names": (*NAMES, "x.tenant")}}),
    ("identity_headers", "warning", {"headers": {"names": (*NAMES, "x-agent-roles")}}),
    ("identity_headers", "warning", {"headers": {"names": (*NAMES, "x.agent.id")}}),
    (
        "attempt_unnamed",
        "error",
        {"id_form": "", "headers": {"credentials": ("authorization", "dpop")}},
    ),
    ("body_missing", "error", {**MESSAGE, "body": BodySeen(content_length=50)}),
    ("body_missing", "error", {**MESSAGE, "body": BodySeen()}),
    ("body_text", "warning", {**MESSAGE, "body": BodySeen("text", 50, 50, 50)}),
    ("body_cut", "error", {**MESSAGE, "body": BodySeen("raw", 16, -1, 50)}),
    ("body_cut", "error", {**MESSAGE, "body": BodySeen("raw", 16, 16, None, is_partial=True)}),
    ("body_cut", "error", {**MESSAGE, "max_request_bytes": "50"}),
    ("body_unbounded", "error", {**MESSAGE, "body": BodySeen("raw", 50, 50)}),
    ("limit_malformed", "error", {"max_request_bytes": "64k"}),
    ("body_unread", "note", {"body": BodySeen("raw", 50, 50, 50)}),
    ("path_not_normalised", "warning", {"path_forms": ("empty_segments",)}),
    ("guardrails_profile", "error", {**GUARDRAILS, "profile": "default"}),
    ("no_source", "error", {**GUARDRAILS, "namespaces": ("agentgateway.request",)}),
    ("no_request", "warning", {**GUARDRAILS, "namespaces": ("agentgateway.source",)}),
    (
        "no_request",
        "error",
        {**GUARDRAILS, "protocol": "guardrails_result", "namespaces": ("agentgateway.source",)},
    ),
    ("caller_refused", "error", {**GUARDRAILS, "identity": REFUSED}),
]
FINE: dict[str, dict[str, Any]] = {
    "plain": {},
    "envoys_own_xfcc": {"identity": {"xfcc": XfccSeen(1, (TRAVEL,), ())}},
    "xfcc": {**XFCC, "identity": {"xfcc": ELEMENT}},
    "no_certificate_where_optional": {"identity": {"certificate": "absent"}},
    "listed_caller": {"proxy": WAYPOINT, "profile": "ours", "profile_by": "callers"},
    "known_route": {"named_route": "trips", "extensions": ("authz_route", "resource_metadata")},
    "message": MESSAGE,
    "chunked_with_a_limit": {
        **MESSAGE,
        "body": BodySeen("raw", 50, 50),
        "max_request_bytes": "65536",
    },
    "stream": {**MESSAGE, "method": "GET", "body": BodySeen()},
    "empty": {**MESSAGE, "body": BodySeen(content_length=0)},
    "joined_by_agentgateway": {"id_form": "hex", "headers": {"form": "joined"}},
    "guardrails": GUARDRAILS,
    "refused_by_policy": {"decision": "policy_denied"},
}


@pytest.mark.parametrize(("code", "severity", "changes"), FINDINGS)
def test_a_finding(config: Config, code: str, severity: str, changes: dict[str, Any]) -> None:
    """The presentation earns this finding, which says what would be right somewhere."""
    diagnosis = found(config, changes)
    [finding] = [one for one in diagnosis.findings if one.code == code]

    assert finding.severity == severity
    assert diagnosis.is_fine == (severity != "error")
    assert code == "caller_refused" or finding.cures or finding.here
    products = {product.value for product, _ in finding.cures}
    assert products <= (
        {"agentgateway"} if "protocol" in changes else {"Envoy", "Istio", "Envoy Gateway"}
    )


@pytest.mark.parametrize("name", FINE)
def test_no_finding(config: Config, name: str) -> None:
    """Nothing is said about what is right."""
    assert codes(found(config, FINE[name])) == set()


def test_a_token_that_never_came(config: Config) -> None:
    """A token's header that was in no check is told where a token is what was missing."""
    missing = {"headers": {"credentials": ()}, "decision": "token_missing"}

    assert codes(found(config, missing, credentials=0)) == {"token_never"}
    assert codes(found(config, missing, credentials=1)) == set()
    assert codes(found(config, {**missing, "decision": "policy_denied"}, credentials=0)) == set()


def test_checks_that_nobody_looked_at(config: Config) -> None:
    """Of checks within a second, the first is looked at: the others may have had a token."""
    kept = Kept(msgspec.structs.replace(GOOD, decision="token_missing"), decided=3)

    told = "\n".join(diagnose(config, [kept]).lines())

    assert "3 decided, 1 looked at; the last, at" in told
    assert "in none of 1 looked at, of 3 checks" in told


def test_the_limit_of_the_profile_is_shown(config: Config) -> None:
    """Where the proxy names no limit, that of the profile stands beside the body."""
    limited = {**MESSAGE, "profile": "limited", "profile_by": "extension"}

    assert any("limit 50, the profile's" in line for line in found(config, limited).lines())
    assert any("no limit named" in line for line in found(config, MESSAGE).lines())


def test_a_token_that_no_route_needs(tmp_path: Path) -> None:
    """Where an SVID alone is enough, no token is missing."""
    alone = LAB.with_routes("- {name: batch, paths: [/batch/**], modes: [autonomous]}")
    config = configured(tmp_path, alone)
    changes = {"route": "batch", "headers": {"credentials": ()}, "decision": ""}

    assert codes(found(config, changes, credentials=0)) == set()


def test_a_retry_of_a_one_time_token(config: Config, tmp_path: Path) -> None:
    """Such a token needs a named request, as a proof does; other tokens do not."""
    once = configured(tmp_path, CHANGES.with_((*AT_ISSUER, "one_time"), True))
    unnamed = {"has_time": False}

    assert codes(found(config, unnamed)) == set()
    assert codes(found(once, unnamed)) == {"attempt_unnamed"}
    assert codes(found(once, {})) == set()
    assert codes(found(once, {**unnamed, "headers": {"credentials": ()}})) == set()


def test_a_limit_that_is_the_proxys(config: Config) -> None:
    """A body that fills the limit that the proxy names may be cut."""
    short = {**MESSAGE, "body": BodySeen("raw", 49, 49), "max_request_bytes": "50"}

    assert codes(found(config, short)) == set()
    assert codes(found(config, {**short, "body": BodySeen("raw", 50, 50)})) == {"body_cut"}


def test_a_limit_of_the_profile(config: Config) -> None:
    """The profile's limit of bodies stands in for the proxy's, which counts where it is sent."""
    chunked = {**MESSAGE, "profile": "limited", "body": BodySeen("raw", 49, 49)}
    full = {**chunked, "body": BodySeen("raw", 50, 50)}

    assert codes(found(config, chunked)) == set()
    assert codes(found(config, full)) == {"body_cut"}
    assert codes(found(config, {**full, "max_request_bytes": "51"})) == set()


def test_an_agent_that_comes_directly(config: Config) -> None:
    """With direct, the header counts behind a trusted proxy alone: an agent needs none."""
    both = {"profile": "both", "profile_by": "extension"}
    behind = {"principal": GATEWAY, **REFUSED}

    assert codes(found(config, both)) == set()
    assert codes(found(config, {**both, "identity": behind})) == {"no_xfcc"}
    assert codes(found(config, {**both, "identity": NO_PRINCIPAL})) == {"no_xfcc"}


def test_what_a_route_accepts(tmp_path: Path) -> None:
    """A form of paths that the route accepts is right."""
    route = "- {name: files, paths: [/files/**], accept_ambiguous: [empty_segments]}"
    config = configured(tmp_path, LAB.with_routes(route))
    changes = {"route": "files", "path_forms": ("empty_segments",)}

    assert codes(found(config, changes)) == set()


def test_the_server(config: Config) -> None:
    """A server that nobody asks, another version of the config, and silent workers are told."""
    version = compute_policy_version(config)

    assert not list(server_findings(config, version, 0, 1))
    told = {one.code: one.severity for one in server_findings(config, "other", 2, 0)}
    assert told == {
        "other_config": Severity.WARNING,
        "silent_workers": Severity.NOTE,
        "never_asked": Severity.ERROR,
    }


def test_what_is_printed_is_safe(config: Config) -> None:
    """No text of a server's answer moves the cursor of a terminal."""
    evil = "\x1b[2J\n\u202e"
    diagnosis = found(config, {"profile": evil, "extensions": (evil,), "method": evil})

    assert all(line.isprintable() for line in diagnosis.lines())


def test_the_worst_first(config: Config) -> None:
    """Errors come before warnings, and the answer counts all."""
    diagnosis = found(config, {"headers": {"form": "joined"}, "identity": NO_PRINCIPAL})

    assert [one.severity for one in diagnosis.findings] == ["error", "warning"]
    assert list(diagnosis.lines())[-1] == "2 findings"
