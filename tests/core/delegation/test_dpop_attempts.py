"""One use of a DPoP proof: which checks are the same HTTP request, and which are another."""

import pytest

from lab.dpop import DpopClient
from support.world import BALANCE, HOST, World, check_request, reason_of

URI = f"https://{HOST}{BALANCE}"
# The proxy's id and time of a request, of two checks with one proof; whether they are the same one.
PAIRS = [
    (("1", (5, 7)), ("1", (5, 7)), True),
    (("1", (5, 7)), ("2", (5, 7)), False),
    (("1", (5, 7)), ("1", (5, 8)), False),
    (("1", (5, 7)), ("1", (6, 7)), False),
    (("", (0, 0)), ("", (0, 0)), False),
    # An id alone can be a client's choice, a time alone that of many requests.
    (("1", (0, 0)), ("1", (0, 0)), False),
    (("", (5, 7)), ("", (5, 7)), False),
    (("", (5, 7)), ("1", (5, 7)), False),
    (("1", (0, 7)), ("1", (0, 7)), True),
]


def proven(
    world: World, client: DpopClient, token: str, named: tuple[tuple[str, tuple[int, int]], ...]
) -> list[str]:
    """What is said of a proof, each time it comes."""
    headers = [("authorization", f"DPoP {token}"), ("dpop", client.proof(token, "GET", URI))]
    reasons = []
    for request_id, (seconds, nanos) in named:
        message = check_request(world.svid, headers)
        message.attributes.request.http.id = request_id
        if seconds or nanos:
            message.attributes.request.time.seconds = seconds
            message.attributes.request.time.nanos = nanos
        reasons.append(reason_of(world.check(message)))
    return reasons


@pytest.mark.parametrize(("first", "second", "is_same"), PAIRS)
def test_which_checks_are_one_request(
    shared_world: World,
    first: tuple[str, tuple[int, int]],
    second: tuple[str, tuple[int, int]],
    *,
    is_same: bool,
) -> None:
    """A proof serves checks that the proxy names alike by id and time, and no other check."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)

    reasons = proven(shared_world, client, token, (first, second, second))
    assert reasons == (["allow"] * 3 if is_same else ["allow", "dpop_proof", "dpop_proof"])


def test_a_time_that_is_set_to_nothing(shared_world: World) -> None:
    """The field of the time alone, without a time in it, names no request."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    headers = [("authorization", f"DPoP {token}"), ("dpop", client.proof(token, "GET", URI))]
    message = check_request(shared_world.svid, headers)
    message.attributes.request.http.id = "1"
    message.attributes.request.time.SetInParent()

    reasons = [reason_of(shared_world.check(message)) for _ in range(2)]
    assert reasons == ["allow", "dpop_proof"]
