"""Which agent a name in a token stands for: by a map, by patterns, or by itself."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config import ConfigError, load_text
from authz.core.delegation.value_pattern import ValuePattern
from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import PAYMENTS, TRAVEL
from support.world import World, reason_of

ACCOUNT = "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77"
AT_ACTOR = (*AT_ISSUER, "actor")
MAPPED_ACT = LAB.with_(AT_ACTOR, {"map": {ACCOUNT: TRAVEL, "pay": PAYMENTS}})
PATTERNS = LAB.with_(
    AT_ACTOR,
    {
        "claim": "azp",
        "map": {"ns:agents:sa:odd": PAYMENTS},
        "patterns": {"ns:{ns}:sa:{sa}": "spiffe://corp.example/ns/{ns}/sa/{sa}"},
    },
)
ITSELF = LAB.with_(AT_ACTOR, {"claim": "azp"})
SEVERAL = LAB.with_(AT_ACTOR, {"claim": ["azp", "appid"], "map": {"t": TRAVEL, "p": PAYMENTS}})


@pytest.fixture(scope="module", params=["map", "patterns", "itself", "several"])
def named(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, World]]:
    """A core for each way to name an agent."""
    kinds = {"map": MAPPED_ACT, "patterns": PATTERNS, "itself": ITSELF, "several": SEVERAL}
    with World(tmp_path_factory.mktemp(request.param), kinds[request.param]) as world:
        yield request.param, world


HR = "https://hr.corp.example"
AS = "https://as.corp.example"
NAMED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "map": [
        ({"act": {"sub": ACCOUNT}}, "allow"),
        ({"act": {"sub": ACCOUNT, "iss": AS}}, "allow"),
        ({"act": {"sub": ACCOUNT, "iss": HR}}, "actor_mismatch"),  # a name of another issuer's
        ({"act": {"sub": ACCOUNT, "iss": "spiffe://corp.example"}}, "actor_mismatch"),
        ({"act": {"sub": ACCOUNT.upper()}}, "actor_mismatch"),
        ({"act": {"sub": "pay"}}, "actor_mismatch"),
        ({"act": {"sub": "unknown"}}, "actor_mismatch"),
        ({"act": {"sub": TRAVEL}}, "allow"),
        ({"act": None, "sub": ACCOUNT}, "principal_required"),  # the agent's own token
        ({"act": None, "sub": "pay"}, "actor_missing"),
    ],
    "patterns": [
        ({"azp": "ns:agents:sa:travel"}, "allow"),
        ({"azp": "ns:agents:sa:payments"}, "actor_mismatch"),
        ({"azp": "ns:agents:sa:odd"}, "actor_mismatch"),  # the map comes first
        ({"azp": "ns:agents:sa:"}, "actor_not_permitted"),
        ({"azp": "ns:agents/sa:sa:travel"}, "actor_not_permitted"),
        ({"azp": "ns:agents:sa:travel\n"}, "actor_not_permitted"),
        ({"azp": "xns:agents:sa:travel"}, "actor_not_permitted"),
        ({"azp": "ns:..:sa:travel"}, "actor_not_permitted"),
        ({"azp": TRAVEL}, "actor_not_permitted"),  # where names are listed, only these
        ({"azp": "ns:agents:sa:travel", "sub": "ns:agents:sa:other"}, "principal_required"),
        ({"azp": "ns:agents:sa:travel", "act": {"sub": "ns:agents:sa:travel"}}, "allow"),
        ({"azp": "ns:agents:sa:travel", "act": {"sub": "ns:agents:sa:x"}}, "actor_mismatch"),
    ],
    "itself": [
        ({"azp": TRAVEL}, "allow"),
        ({"azp": PAYMENTS}, "actor_mismatch"),
        ({"azp": "travel"}, "actor_not_permitted"),
        ({"azp": f"{TRAVEL}/"}, "actor_not_permitted"),
        ({"azp": TRAVEL.upper()}, "actor_not_permitted"),
        ({"azp": TRAVEL, "sub": TRAVEL}, "principal_required"),
        ({"azp": TRAVEL, "sub": PAYMENTS}, "principal_required"),
        ({"azp": TRAVEL, "act": {"sub": TRAVEL}}, "allow"),
        ({"azp": TRAVEL, "act": {"sub": PAYMENTS}}, "actor_mismatch"),
    ],
    "several": [
        ({"azp": "t"}, "allow"),
        ({"appid": "t"}, "allow"),
        ({"azp": "t", "appid": "t"}, "allow"),
        ({"azp": "t", "appid": "p"}, "actor_mismatch"),
        ({"azp": "p", "appid": "t"}, "actor_mismatch"),
        ({"azp": "t", "appid": "x"}, "actor_not_permitted"),
        ({"azp": "t", "appid": ["t"]}, "actor_malformed"),
        ({}, "actor_missing"),
    ],
}


def test_names(named: tuple[str, World]) -> None:
    """Each name stands for one agent, and near misses for none or another."""
    kind, world = named
    for changes, reason in NAMED[kind]:
        token = world.token(**{"act": None, **changes})

        assert (changes, reason_of(world.ask(token))) == (changes, reason)


def test_earlier_actors_are_recorded_by_their_agents(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Those of the issuer by the map, so that ``via`` can name them; others as they are."""
    chain = {"sub": ACCOUNT, "act": {"sub": "pay", "act": {"sub": "pay", "iss": HR}}}
    with World(tmp_path_factory.mktemp("chain"), MAPPED_ACT) as world:
        assert reason_of(world.ask(world.token(act=chain))) == "allow"
        actors = world.audit_records()[-1]["actors"]

    assert [actor["sub"] for actor in actors] == [TRAVEL, PAYMENTS, "pay"]


ID = "spiffe://corp.example/ns/{ns}/sa/{sa}"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"patterns": {"ns": TRAVEL}}, r"no \{name\}: put a single value into map"),
    ({"patterns": {"{ns}{sa}": ID}}, "between two names there must be .* such as ':'"),
    ({"patterns": {"{ns}-{sa}": ID}}, "can't hold, not '-'"),
    ({"patterns": {"{ns}:{sa}": "spiffe://corp.example/{ns}-{sa}"}}, "can't hold, not '-'"),
    ({"patterns": {"{ns}:{sa}": "spiffe://corp.example/{ns}"}}, r"lacks \{sa\}"),
    ({"patterns": {"{ns}": ID}}, r"the value has no \{sa\}"),
    ({"patterns": {"{ns}:{ns}": ID}}, "a name is in it twice"),
    ({"patterns": {"{Ns}": ID}}, "is not part of a name"),
    ({"patterns": {"{ns": ID}}, "is not part of a name"),
    ({"patterns": {"{ns}": "spiffe://{ns}/x"}}, "the trust domain must be written out"),
    ({"patterns": {"{ns}": "https://corp.example/{ns}"}}, "it makes no SPIFFE ID"),
    ({"patterns": {"{ns}": "spiffe://corp.example/{ns}/"}}, "it makes no SPIFFE ID"),
    ({"claim": ["act", "azp"]}, "act counts beside any other claim"),
    ({"claim": []}, "claim"),
    ({"claim": "aud", "map": {"x": TRAVEL}}, "aud says for whom a token is"),
    ({"claim": ["azp", "aud"], "map": {"x": TRAVEL}}, "aud says for whom a token is"),
    ({"claim": "azp", "issuers": [HR]}, "issuers is only for the claim act"),
]


@pytest.mark.parametrize(("actor", "message"), WRONG)
def test_what_can_not_be_a_name(shared_world: World, actor: dict[str, Any], message: str) -> None:
    """A pattern that could give an agent to another's name is an error, with its line."""
    text = LAB.with_(AT_ACTOR, actor).edit(shared_world.config_text)
    with pytest.raises(ConfigError, match=message) as error:
        load_text(text.encode(), "f.yaml")

    assert "issuers[0].actor" in str(error.value)


PARTS = st.text(st.sampled_from("ab-._:/"), max_size=6)


@given(PARTS, PARTS)
def test_two_values_never_make_the_same(first: str, second: str) -> None:
    """Whatever they are; and what they make is in the trust domain that is written."""
    pattern = ValuePattern.parse("{a}:{b}", "spiffe://d.example/{a}/{b}")
    made = pattern.make(first)

    assert made is None or made.startswith("spiffe://d.example/")
    assert made is None or first == second or made != pattern.make(second)
