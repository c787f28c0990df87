"""Identity headers in other spellings: what upstreams can't tell from ours never reaches them."""

import json
import random
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.edge.header_reader import HeaderReader
from lab.client import Client, bearer
from lab.config_builder import AT_READ_RULE, LAB
from lab.envoy import Envoy, bootstrap
from lab.mesh import TRAVEL, Mesh
from support.cgi_upstream import cgi, wsgi
from support.world import BALANCE, READ, World, check_request, reason_of

TCHAR = "!#$%&'*+-.^_`|~"  # RFC 9110 section 5.6.2, without letters and digits
WORDS = ("id", "principal", "issuer", "scope", "chain", "decision-id")
OURS = frozenset(f"x-agent-{word}" for word in WORDS)
EARLY = (  # the shipped file's removal before any filter, which some tests do without
    'regex: "x[^a-z0-9]+agent[^a-z0-9].*"',
    'regex: "[a-z0-9_-]*[^a-z0-9:_-].*"',
)
NO_EARLY = {
    **dict.fromkeys(EARLY, 'regex: "none"'),
    "headers_with_underscores_action: REJECT_REQUEST": "headers_with_underscores_action: ALLOW",
}
AS_MAP = {"encode_raw_headers: true": "encode_raw_headers: false"}


def folded(name: str) -> str:
    """The name as CGI servers know it that make "_" of what is no letter or digit."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def spellings() -> list[str]:
    """Other spellings of each of ours: with each character, mixed, and in upper case."""
    chosen = random.Random(5)
    found = []
    for word in WORDS:
        parts = ["x", "agent", *word.split("-")]
        for char in TCHAR:
            found.append(char.join(parts))
            found.append(f"x-agent{char}{word}")
            mixed = "".join(part + chosen.choice(TCHAR) for part in parts)[:-1]
            found.append(chosen.choice([mixed, mixed.upper(), mixed.title()]))
    return [name for name in found if name.lower() not in OURS]


SPELLINGS = spellings()
PLAIN = [name for name in SPELLINGS if "_" not in name]  # a "_" is refused by the shipped config


def batches(names: list[str]) -> list[list[tuple[str, str]]]:
    """Forged headers, as many at once as Envoy takes."""
    return [[(name, "forged") for name in names[at : at + 60]] for at in range(0, len(names), 60)]


@contextmanager
def behind(mesh: Mesh, folder: Path, port: int, changes: dict[str, str]) -> Iterator[Envoy]:
    """One more Envoy, in front of the upstream at the port."""
    folder.mkdir(exist_ok=True)
    config = bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=port,
        sockets=[mesh.servers[0].socket],
        changes=changes,
    )
    envoy = Envoy(folder, config)
    try:
        yield envoy.wait_ready()
    finally:
        envoy.stop()


def seen(mesh: Mesh, envoy: Envoy, names: list[str]) -> list[dict[str, str]]:
    """What the upstream has of an allowed request, and of ones with such forged headers."""
    client = Client(envoy.port, mesh.authority.path, mesh.authority.issue(TRAVEL))
    token = mesh.issuer.token(TRAVEL, scope=READ)
    found = []
    for forged in [[], *batches(names)]:
        reply = client.request("GET", BALANCE, [*forged, *bearer(token)])
        assert reply.status == 200, (reply, forged)
        found.append(json.loads(reply.body))
    return found


def assert_ours(variables: dict[str, str]) -> None:
    """Every variable of ours is what we said, whatever it is called."""
    assert "forged" not in variables.values()
    ours = {
        name: value for name, value in variables.items() if folded(name).startswith("HTTP_X_AGENT_")
    }
    assert ours.pop("HTTP_X_AGENT_DECISION_ID")
    assert ours == {
        "HTTP_X_AGENT_ID": TRAVEL,
        "HTTP_X_AGENT_PRINCIPAL": "alice",
        "HTTP_X_AGENT_ISSUER": "https://as.corp.example",
        "HTTP_X_AGENT_SCOPE": READ,
    }


@pytest.mark.e2e
def test_a_cgi_server_behind_the_shipped_config(mesh: Mesh, tmp_path: Path) -> None:
    """A real CGI program gets our identity headers, and nobody else's under their names."""
    others = ["x.forwarded.client.cert", "x+forwarded+for", "x-forwarded.for", "x.agent.anything"]
    with cgi(tmp_path / "cgi") as port, behind(mesh, tmp_path, port, {}) as envoy:
        for variables in seen(mesh, envoy, [*PLAIN, *others]):
            assert_ours(variables)


@pytest.mark.e2e
@pytest.mark.parametrize("form", [{}, AS_MAP], ids=["raw", "map"])
def test_a_cgi_server_behind_our_answer_alone(
    mesh: Mesh, tmp_path: Path, form: dict[str, str]
) -> None:
    """Where Envoy removes and refuses nothing itself, our answer removes each spelling that came.

    From the second request on the decision is a remembered one.
    """
    with (
        cgi(tmp_path / "cgi") as port,
        behind(mesh, tmp_path, port, NO_EARLY | form) as envoy,
    ):
        for variables in seen(mesh, envoy, SPELLINGS):
            assert_ours(variables)


@pytest.mark.e2e
def test_a_wsgi_server_behind_our_answer_alone(mesh: Mesh, tmp_path: Path) -> None:
    """Likewise an application of WSGI, which only takes "-" and "_" for the same."""
    with wsgi() as port, behind(mesh, tmp_path, port, NO_EARLY) as envoy:
        for variables in seen(mesh, envoy, SPELLINGS):
            assert_ours(variables)


@pytest.mark.e2e
@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_no_spelling_reaches_an_upstream(mesh: Mesh, *, http2: bool) -> None:
    """Over either version nothing that folds to a name of ours arrives but ours; "_" is refused."""
    svid = mesh.authority.issue(TRAVEL)
    context = ssl.create_default_context(cafile=str(mesh.authority.path))
    context.load_cert_chain(svid.certificate_path, svid.key_path)
    url = f"https://localhost:{mesh.envoy.port}{BALANCE}"
    own = [
        ("host", "mcp.corp.example"),
        ("authorization", f"Bearer {mesh.issuer.token(TRAVEL, scope=READ)}"),
    ]
    with httpx.Client(http2=http2, verify=context, timeout=60, trust_env=False) as client:
        for forged in batches(PLAIN):
            reply = client.get(url, headers=[*own, *forged])
            names = [name for name, _ in reply.json()["headers"] if "agent" in name]

            assert reply.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert set(names) - {"user-agent"} == OURS - {"x-agent-chain"}
            assert "forged" not in reply.text
        for name in ("x_agent_id", "x.agent_id", "X-Agent_Principal"):
            try:
                status = client.get(url, headers=[*own, (name, "forged")]).status_code
            except httpx.RemoteProtocolError:
                status = 400  # the stream was reset
            assert status == 400


def removed(world: World, names: list[str], **how: Any) -> set[str]:
    """Which headers the answer takes away from a request that has these."""
    headers = [(name, "forged") for name in names]
    message = check_request(
        world.svid, [*headers, ("authorization", f"Bearer {world.token()}")], **how
    )
    first, second = world.check(message), world.check(message)
    assert (reason_of(first), reason_of(second)) == ("allow", "allow")
    assert second.dynamic_metadata["cache"] == "hit"
    sets = [set(answer.ok_response.headers_to_remove) for answer in (first, second)]
    assert sets[0] == sets[1]
    return sets[0]


NAMES = st.text(alphabet="agentxidAGENTXID-_.!~'", min_size=1, max_size=12) | st.sampled_from(
    [
        *SPELLINGS,
        *OURS,
        "user-agent",
        "x-agent",
        "xagent-id",
        "x-agent-idx",
        "x-agent-",
        "X!agent-roles",
        "y-agent-roles",
        "accept",
        "x--agent-id",
    ]
)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, max_size=8, unique_by=str.lower), raw=st.booleans())
def test_an_answer_removes_what_came(shared_world: World, names: list[str], *, raw: bool) -> None:
    """Every header that folds to a name under our prefix is set or removed; no other is touched."""
    usual = removed(shared_world, [], raw_headers=raw)
    names = [name if raw else name.lower() for name in names]
    given_back = removed(shared_world, names, raw_headers=raw) - usual
    twins = {n.lower() for n in names if folded(n).startswith("X_AGENT_")}

    assert given_back == twins - OURS - usual


def test_a_refusal_stays_one(shared_world: World) -> None:
    """A forged spelling beside no good token changes nothing of the refusal."""
    answer = shared_world.check(check_request(shared_world.svid, [("x.agent.id", "forged")]))

    assert reason_of(answer) == "token_missing"
    assert not answer.HasField("ok_response")


def test_headers_that_rules_read(tmp_path: Path) -> None:
    """What a rule reads of a header holds upstream: no twin can say something else there."""
    keys = "{headers: {x-tenant: [a]}, add_headers: {x-agent-team: groups}}"
    with World(tmp_path, LAB.with_keys(AT_READ_RULE, keys)) as world:
        for raw in (False, True):
            names = ["x.tenant", "x_tenant", "x.agent.team", "y.tenant"]
            headers = [("x-tenant", "a"), *((name, "b") for name in names)]
            headers.append(("authorization", f"Bearer {world.token(groups=['g'])}"))
            answer = world.check(check_request(world.svid, headers, raw_headers=raw))
            gone = set(answer.ok_response.headers_to_remove)

            assert reason_of(answer) == "allow"
            assert {"x.tenant", "x_tenant", "x.agent.team"} <= gone
            assert not {"x-tenant", "x-agent-team", "y.tenant"} & gone


def test_what_is_remembered_of_names_is_bounded() -> None:
    """Names that a client makes up don't fill the memory, and twins are found after any number."""
    headers = HeaderReader(frozenset({"authorization"}), OURS)
    for number in range(5000):
        values, raw = {}, pb.HeaderMap()
        for name in (f"made-up-{number}", "x" * 1000 + str(number), "x.agent.id", "authorization"):
            values[name] = "v"
            raw.headers.add(key=name, raw_value=b"v")

        expected = ({"authorization": "v"}, ("x.agent.id",))
        assert headers.read(values) == headers.read({}, raw.headers) == expected
    assert len(headers._known) <= 1024
    assert sum(map(len, headers._sets)) <= 1024 * 2048
