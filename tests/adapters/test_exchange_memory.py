"""The memory of exchanged tokens: bounded in all and for each agent, and never beyond an end."""

from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.exchange.memory import Exchanged, ExchangeMemory, Refused
from authz.core.reason import Reason

MAX_BYTES = 20_000
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "refuse", "get", "wait"]),
        st.sampled_from("abcdef"),
        st.integers(0, 9),
        st.integers(1, 40),
    ),
    max_size=120,
)


def exchanged(size: int) -> Exchanged:
    """A token of this many characters."""
    return Exchanged("x" * size, "id", 0.0, 0.0, 0.0)


@given(STEPS)
def test_against_a_model(steps: list[tuple[str, str, int, int]]) -> None:
    """It returns the last outcome of an agent's key until its end; it may forget, no more."""
    now = [0.0]
    memory = ExchangeMemory(MAX_BYTES, lambda: now[0])
    model: dict[tuple[str, int], tuple[object, float]] = {}
    for step, agent, number, amount in steps:
        key = str(number).encode()
        if step == "wait":
            now[0] += amount
        elif step == "get":
            outcome, ends = model.get((agent, number), (None, 0.0))
            assert memory.get(agent, key) in ([outcome, None] if now[0] < ends else [None])
        else:
            made = (
                exchanged(amount * 50)
                if step == "put"
                else Refused(Reason.EXCHANGE_REFUSED, f"{amount}")
            )
            memory.put(agent, key, made, now[0] + amount)
            model[agent, number] = made, now[0] + amount
            assert memory.get(agent, key) is made  # at least until the next
        held = [entry for entries in memory._agents.values() for entry in entries.values()]
        assert memory.held_bytes == sum(entry.weight for entry in held) <= MAX_BYTES
        assert len(memory) == len(held)
        assert all(used <= MAX_BYTES // 4 for used in memory._bytes.values())
        assert memory._bytes.keys() == memory._agents.keys()


def test_an_agent_displaces_its_own_first() -> None:
    """An agent that sends many tokens takes a quarter, and no token of another agent."""
    memory = ExchangeMemory(MAX_BYTES, lambda: 0.0)
    memory.put("quiet", b"k", exchanged(10), 10.0)
    for number in range(500):
        memory.put("loud", str(number).encode(), exchanged(10), 10.0)
    assert memory.get("quiet", b"k") is not None
    assert memory.held_bytes <= MAX_BYTES // 4 + 2000


def test_many_agents_leave_room_for_the_last() -> None:
    """With many agents the one with most gives way; a token that is too large is not kept."""
    memory = ExchangeMemory(MAX_BYTES, lambda: 0.0)
    for number in range(200):
        memory.put(f"agent-{number}", b"k", exchanged(10), 10.0)
        assert memory.get(f"agent-{number}", b"k") is not None
    memory.put("large", b"k", exchanged(MAX_BYTES), 10.0)
    assert memory.get("large", b"k") is None
    assert memory.held_bytes <= MAX_BYTES


def test_ended_tokens_are_dropped() -> None:
    """A token is not kept in memory long after its end, though nobody asks for it."""
    now = [0.0]
    memory = ExchangeMemory(MAX_BYTES, lambda: now[0])
    memory.put("a", b"k", exchanged(10), 5.0)
    now[0] = 20.0
    memory.put("b", b"k", exchanged(10), 30.0)
    assert len(memory) == 1
