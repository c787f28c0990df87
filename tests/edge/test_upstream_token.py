"""What the upstream gets of the token: by the profile, else the route, else ``token.forward``."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.core.bounded_map import Unchanging
from authz.core.known_callers import KnownCallers
from authz.edge import methods
from lab.config_builder import LAB
from lab.dpop import DpopClient
from support.ext_mcp import Gateway
from support.ext_mcp import request as mcp_request
from support.world import World, check_request, reason_of

WORDS: Final = ("strip", "forward")
PROFILES: Final = {"": "", "plain": "", "strips": "strip", "forwards": "forward"}
ROUTES: Final = {"finance": "", "cut": "strip", "kept": "forward"}
SIDECAR: Final = "spiffe://corp.example/ns/tools/sa/ledger"
CHANGES: Final = (
    LAB.with_profile("plain", "{}")
    .with_profile("strips", "{upstream_token: strip}")
    .with_profile("forwards", "{upstream_token: forward}")
    .with_routes("""\
- {name: cut, paths: [/finance/cut/**], upstream_token: strip, resource: "https://mcp.corp.example"}
- {name: kept, paths: [/finance/kept/**], upstream_token: forward}
""")
    .with_items(("issuers", 0, "audiences"), "[https://mcp.corp.example]")
)
PATHS: Final = {"finance": "/finance/a", "cut": "/finance/cut/a", "kept": "/finance/kept/a"}


@dataclass(frozen=True)
class Default:
    """A world, and what its config says of all requests."""

    world: World
    word: str


@pytest.fixture(scope="module", params=WORDS)
def default(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Default]:
    """A core that strips or forwards where neither profile nor route says."""
    forward = "true" if request.param == "forward" else "false"
    changes = CHANGES.with_section("token", f"{{forward: {forward}}}")
    with World(tmp_path_factory.mktemp("tokens"), changes) as world:
        yield Default(world, request.param)


def told(answer: pb.CheckResponse) -> str:
    """What an allow does with the token."""
    assert reason_of(answer) == "allow"
    return "strip" if "authorization" in answer.ok_response.headers_to_remove else "forward"


def ask(
    world: World, token: str, profile: str, route: str, *, by_name: bool, path: str = ""
) -> pb.CheckResponse:
    """Ask through a profile for a route, which the proxy names or the path shows."""
    context = {"authz_profile": profile} if profile else {}
    if by_name:
        context["authz_route"] = route
    headers = [("authorization", f"Bearer {token}")]
    return world.check(
        check_request(world.svid, headers, path=path or PATHS[route], context=context)
    )


def test_the_most_specific_word_holds(default: Default) -> None:
    """One token through every profile and route in turns: each gets its own answer, also again.

    Three rounds: decided, remembered, and decided anew for a known caller on another path.
    """
    world = default.world
    token = world.token(aud=["https://mcp.corp.example", "https://mcp.corp.example/finance"])
    ways = [*itertools.product(PROFILES, ROUTES, (False, True))]
    rounds = (("", "miss"), ("", "hit"), ("b", "miss"), ("b", "hit"))
    for (path, cache), (profile, route, by_name) in itertools.product(rounds, ways):
        place = PATHS[route] + path
        answer = ask(world, token, profile, route, by_name=by_name, path=place)
        expected = PROFILES[profile] or ROUTES[route] or default.word

        assert told(answer) == expected, (profile, route, by_name, cache)
        assert answer.dynamic_metadata["cache"] == cache


def test_a_new_token_of_the_same_terms(default: Default) -> None:
    """What was rendered for one token is used for the next of its terms by the same word only."""
    for profile, route in [*itertools.product(PROFILES, ROUTES)] * 2:
        token = default.world.token(
            aud=["https://mcp.corp.example", "https://mcp.corp.example/finance"]
        )
        answer = ask(default.world, token, profile, route, by_name=False)

        assert told(answer) == (PROFILES[profile] or ROUTES[route] or default.word)


def test_a_proof_goes_where_its_token_goes(default: Default) -> None:
    """A DPoP proof is stripped with its token, and forwarded with it."""
    world, client = default.world, DpopClient()
    token = world.token(cnf=client.confirmation, aud="https://mcp.corp.example")
    for profile, word in PROFILES.items():
        proof = client.proof(token, "GET", "https://mcp.corp.example" + PATHS["cut"])
        headers = [("authorization", f"DPoP {token}"), ("dpop", proof)]
        context = {"authz_profile": profile} if profile else {}
        answer = world.check(check_request(world.svid, headers, path=PATHS["cut"], context=context))
        stripped = {"authorization", "dpop"} & {*answer.ok_response.headers_to_remove}

        assert reason_of(answer) == "allow"
        assert stripped == ({"authorization", "dpop"} if word != "forward" else set())


def test_a_proxys_own_profile(tmp_path: Path) -> None:
    """Where the proxy's certificate chooses the profile, the proxy decides, known caller or not."""
    own = f"{{upstream_token: forward, callers: ['{SIDECAR}']}}"
    with World(tmp_path, LAB.with_profile("own", own)) as world:
        token = world.token()
        request = check_request(world.svid, [("authorization", f"Bearer {token}")])
        data = request.SerializeToString()
        answers = [
            methods.answer(world.authorization, data, lambda: 5.0, proxy)
            for proxy in ("", SIDECAR, "", SIDECAR)
        ]

        words = [told(pb.CheckResponse.FromString(answer)) for answer in answers]
        assert words == ["strip", "forward", "strip", "forward"]
        world.service.snapshot.authorizer._callers = KnownCallers(
            Unchanging(), entries=0, max_bytes=0
        )
        new = check_request(world.svid, [("authorization", f"Bearer {token}")], path="/finance/new")
        answer = methods.answer(world.authorization, new.SerializeToString(), lambda: 5.0, SIDECAR)
        assert told(pb.CheckResponse.FromString(answer)) == "forward"


def test_targets_of_which_one_must_not_get_it(tmp_path: Path) -> None:
    """A call to several targets forwards the token only if each may get it."""
    changes = (
        LAB.with_(("profiles", "default"), {"identity": "metadata"})
        .with_routes("""\
- {name: github, hosts: [github], protocol: mcp, upstream_token: forward}
- {name: jira, hosts: [jira], protocol: mcp}
""")
        .with_rules(
            "finance-read",
            "- {hosts: ['*'], methods: [POST], paths: [/**], scopes: [], mcp: {tools: [find]}}",
        )
    )
    with World(tmp_path, changes) as world:
        gateway = Gateway(world)
        stripped = {("github",): False, ("jira",): True, ("github", "jira"): True}
        for targets, is_stripped in stripped.items():
            answer = gateway.ask(
                mcp_request("tools/call", {"name": "find"}, token=world.token(), targets=targets)
            )

            assert answer.HasField("pass")
            assert ("authorization" in answer.header_mutation.remove) is is_stripped
