"""Headers that no upstream sees: names under our prefix, and those that the operator lists."""

from pathlib import Path

import pytest

from authz.edge.header_reader import HeaderReader, Prefixes
from lab.config_builder import AT_READ_RULE, LAB
from support.world import World, check_request, reason_of

REMOVE = LAB.with_section("headers", "{remove: [x-forwarded-user, x-auth-request-*]}")


def removed(world: World, names: list[str], *, raw: bool, **claims: object) -> set[str]:
    """Return the headers that an allow removes from a request that has these."""
    token = ("authorization", f"Bearer {world.token(**claims)}")
    headers = [*((name, "admin") for name in names), token]
    answer = world.check(check_request(world.svid, headers, raw_headers=raw))
    assert reason_of(answer) == "allow"
    return set(answer.ok_response.headers_to_remove)


@pytest.mark.parametrize("raw", [False, True], ids=["map", "raw"])
def test_the_prefix_belongs_to_the_server(shared_world: World, *, raw: bool) -> None:
    """A client's header under the prefix is removed in every spelling; ours are set."""
    sent = ["x-agent-roles", "x_agent_roles", "x.agent.teams", "x-agent-", "x-agents", "y-agent-a"]

    gone = removed(shared_world, [*sent, "x-agent-id"], raw=raw)

    assert {"x-agent-roles", "x_agent_roles", "x.agent.teams", "x-agent-"} <= gone
    assert gone.isdisjoint({"x-agents", "y-agent-a", "x-agent-id", "x-agent-principal"})


@pytest.mark.parametrize("raw", [False, True], ids=["map", "raw"])
def test_listed_names(tmp_path: Path, *, raw: bool) -> None:
    """A listed name is always removed, and a listed prefix removes the names that came."""
    with World(tmp_path, REMOVE) as world:
        always = removed(world, [], raw=raw)
        came = removed(
            world, ["x-auth-request-email", "x_auth.request_a", "x.forwarded.user"], raw=raw
        )

    assert {"x-forwarded-user", "x_forwarded_user", "x-forwarded_user"} <= always
    assert not any("auth" in name and "request" in name for name in always)
    assert came - always == {"x-auth-request-email", "x_auth.request_a", "x.forwarded.user"}


@pytest.mark.parametrize("raw", [False, True], ids=["map", "raw"])
def test_added_headers_and_a_rule_s_own_arrive(tmp_path: Path, *, raw: bool) -> None:
    """A header that a rule adds arrives; a header that a rule reads counts, and goes no further."""
    keys = "{headers: {x-agent-mode: [fast]}, add_headers: {x-agent-team: groups}}"
    with World(tmp_path, LAB.with_keys(AT_READ_RULE, keys)) as world:
        token = ("authorization", f"Bearer {world.token(groups=['g'])}")
        headers = [("x-agent-mode", "fast"), ("x-agent-team", "forged"), token]
        answer = world.check(check_request(world.svid, headers, raw_headers=raw))

    added = {one.header.key: one.header.value for one in answer.ok_response.headers}
    assert reason_of(answer) == "allow"
    assert added["x-agent-team"] == "g"
    assert "x-agent-mode" in answer.ok_response.headers_to_remove
    assert "x-agent-team" not in answer.ok_response.headers_to_remove


def test_a_forwarded_token_under_the_prefix_stays(tmp_path: Path) -> None:
    """The token's header is not one of the client's own, even if its name begins as ours do."""
    with World(tmp_path, LAB.with_section("token", "{header: x-agent-token, forward: true}")) as w:
        message = check_request(w.svid, [("x-agent-token", f"Bearer {w.token()}")])
        answer = w.check(message)

    assert reason_of(answer) == "allow"
    assert "x-agent-token" not in answer.ok_response.headers_to_remove


def test_a_header_that_is_read_is_found_in_both_forms() -> None:
    """A header under the prefix that decisions read is read and removed, once, in either form."""
    reader = HeaderReader(frozenset({"x-agent-a"}), frozenset(), Prefixes(("x-agent-",)))
    sent = {"x-agent-a": "1", "x-agent-b": "2"}
    fields = [_Field(key, value.encode()) for key, value in [*sent.items(), *sent.items()]]

    by_map, by_fields = reader.read(sent), reader.read({}, fields)

    assert by_map == ({"x-agent-a": "1"}, ("x-agent-a", "x-agent-b"))
    assert by_fields[0] == {"x-agent-a": "1,1"}
    assert sorted(by_fields[1]) == ["x-agent-a", "x-agent-b"]


class _Field:
    """A header in Envoy's raw form."""

    def __init__(self, key: str, raw_value: bytes) -> None:
        self.key, self.value, self.raw_value = key, "", raw_value
