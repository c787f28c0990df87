"""Through which agents a principal may act: said in principals, and answered as said."""

from pathlib import Path

import pytest

from lab.config_builder import LAB
from lab.mesh import ISSUER, PAYMENTS, TRAVEL
from support.world import World, check_request, header_of, reason_of

ALICE = f"- match: {{issuer: {ISSUER}, subjects: [alice]}}\n"
STOPPED = "  suspended: true\n"
BY_TRAVEL = f"  agents: [{TRAVEL}]\n"
BY_PAYMENTS = f"  agents: [{PAYMENTS}]\n"
READERS = f"- match: {{issuer: {ISSUER}, groups: [readers, others]}}\n"  # and not alice
HOLDING = "  grants: [finance-read, finance-pay, public]\n"  # what the last entry holds


@pytest.mark.parametrize(
    ("entries", "reason", "of_payments"),
    [
        (ALICE, "allow", "allow"),
        (ALICE + BY_PAYMENTS, "actor_not_permitted", "allow"),  # through it alone
        (ALICE + BY_TRAVEL + STOPPED + ALICE, "actor_not_permitted", "allow"),  # any but this
        (ALICE + STOPPED + ALICE + BY_TRAVEL + STOPPED + ALICE, "policy_denied", "policy_denied"),
        (ALICE + BY_PAYMENTS + STOPPED + READERS, "policy_denied", "actor_not_permitted"),
    ],
)
def test_through_which_agents(tmp_path: Path, entries: str, reason: str, of_payments: str) -> None:
    """An agent that may not act for a principal is told that, and of a principal no more."""
    changes = LAB.without(("principals", 0)).with_principals(entries + HOLDING)
    with World(tmp_path, changes) as world:
        answer = world.ask(world.token())

        assert reason_of(answer) == reason
        if reason == "actor_not_permitted":
            challenge = header_of(answer, "www-authenticate") or ""
            assert challenge.startswith('Bearer error="actor_unauthorized"')
        token = world.token(act={"sub": PAYMENTS})
        headers = [("authorization", f"Bearer {token}")]
        request = check_request(world.authority.issue(PAYMENTS), headers, principal=PAYMENTS)
        assert reason_of(world.check(request)) == of_payments


def test_a_stranger_is_no_principal_of_any_agent(shared_world: World) -> None:
    """A principal that no entry is about has no rights, through whichever agent."""
    assert reason_of(shared_world.ask(shared_world.token(sub="mallory"))) == "policy_denied"
