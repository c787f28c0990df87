"""What the how-to says of tokens with act, through a real Keycloak and a real Envoy."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.keycloak import Realm
from lab.mesh import TRAVEL, Mesh
from support.keycloak_howto import (
    AGENT,
    READ,
    Howto,
    Proxy,
    commands,
    configs,
    serve,
    users_token,
)

pytestmark = pytest.mark.timeout(900)  # the first waits for Keycloak
USERS = "/finance/balance"
AGENTS = "/nightly/balance"


@pytest.fixture(scope="module")
def with_act(howto: Howto, corp: Realm) -> Iterator[Realm]:
    """The realm after the how-to's last commands: a mapper writes act."""
    howto.run(commands()[2])
    yield corp
    corp.remove_mapper(AGENT, "act")


@pytest.fixture(scope="module")
def by_act(mesh: Mesh, howto: Howto, with_act: Realm) -> Iterator[Proxy]:  # noqa: ARG001 - first
    """The how-to's config for act, behind an Envoy."""
    running = serve(mesh, "act", howto.config(configs()[1]))
    try:
        yield running
    finally:
        running.envoy.stop()


@pytest.fixture(scope="module")
def by_mapped_act(mesh: Mesh, howto: Howto) -> Iterator[Proxy]:
    """The how-to's config for an act that holds a service account's id, behind an Envoy."""
    running = serve(mesh, "mapped-act", howto.config(configs()[2]))
    try:
        yield running
    finally:
        running.envoy.stop()


def test_act(by_act: Proxy, with_act: Realm) -> None:
    """A user's token with act lets the agent act for the user."""
    reply = by_act.agent(TRAVEL).get(USERS, users_token(with_act))

    assert (reply.status, reply.reason) == (200, "")
    assert by_act.record(reply)["mode"] == "act"


@pytest.mark.parametrize("scopes", ["as in the how-to", "without profile"])
def test_act_in_an_agents_own_token(by_act: Proxy, with_act: Realm, scopes: str) -> None:
    """The mapper writes act into the agent's own tokens too, which makes them no users'."""
    with ExitStack() as changes:
        if scopes == "without profile":  # then no name tells whose it is
            changes.enter_context(with_act.without_scope(AGENT, "profile"))
        own = with_act.own(AGENT, READ)
        exchanged = str(with_act.exchange(AGENT, own, READ)["access_token"])
    travel = by_act.agent(TRAVEL)

    assert [travel.get(USERS, token).reason for token in (own, exchanged)] == [
        "principal_required",
        "principal_required",
    ]
    assert travel.get(AGENTS, own).status == 200


def test_act_beside_azp(proxy: Proxy, with_act: Realm) -> None:
    """Where azp is mapped, an act that names the same agent changes nothing."""
    reply = proxy.agent(TRAVEL).get(USERS, users_token(with_act))

    assert (reply.status, reply.reason) == (200, "")


def test_act_of_a_service_account(by_mapped_act: Proxy, corp: Realm) -> None:
    """An act with the user id of the agent's service account names the agent by the map."""
    act = {
        "claim.name": "act.sub",
        "claim.value": corp.service_account_id(AGENT),
        "jsonType.label": "String",
    }
    with corp.with_mapper(AGENT, "oidc-hardcoded-claim-mapper", act):
        reply = by_mapped_act.agent(TRAVEL).get(USERS, users_token(corp))

    assert (reply.status, reply.reason) == (200, "")
