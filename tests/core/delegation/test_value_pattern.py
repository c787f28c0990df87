"""Patterns of agents' names: what fits one makes the ID that the docs say, in linear time."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.delegation.actor_settings import ActorSettings
from authz.core.delegation.value_pattern import ValuePattern
from support.costs import Place, growth
from support.docs_model.agents import stands_for

ACCOUNTS: Final = "system:serviceaccount:{ns}:{sa}"
PATTERNS: Final = {
    ACCOUNTS: "spiffe://corp.example/ns/{ns}/sa/{sa}",
    "{name}-agent": "spiffe://corp.example/agents/{name}",
    "agent-{a}:{b}/{c}": "spiffe://corp.example/{c}/x-{a}/{b}.y",
    "x.y+{name}": "spiffe://corp.example/plus/{name}",
}
NAMES: Final = st.lists(
    st.sampled_from(
        [
            *"aZ0.-_:/{}",
            "system:serviceaccount:",
            "-agent",
            "agent-",
            "\u00e9",
            "\u0661",
            "\n",
            "\x00",
        ]
    ),
    max_size=9,
).map("".join)


@settings(max_examples=500, deadline=None, database=None)
@given(NAMES)
def test_patterns_are_read_as_the_docs_say(name: str) -> None:
    """A name stands for the agent of the first pattern that fits, or for none."""
    actor = ActorSettings(claim=("azp",), patterns=PATTERNS)

    expected = stands_for({"actor": {"claim": "azp", "patterns": PATTERNS}}, name, itself=False)
    assert actor.agent_of(name) == expected


@pytest.mark.parametrize(
    ("name", "agent"),
    [
        ("system:serviceaccount:a.b:C_d-9", "spiffe://corp.example/ns/a.b/sa/C_d-9"),
        ("system:serviceaccount:..:x", None),
        ("system:serviceaccount:x:.", None),
        ("system:serviceaccount:x:...", "spiffe://corp.example/ns/x/sa/..."),
        ("system:serviceaccount:x:", None),
        ("system:serviceaccount:x:y:z", None),
        ("system:serviceaccount:x:y/z", None),
        ("system:serviceaccount:x:y\n", None),
        ("System:serviceaccount:x:y", None),
        ("system:serviceaccount:x:\u00e9", None),
        (f"system:serviceaccount:x:{'y' * 2048}", None),  # beyond SPIFFE-ID section 2.3
        ("x-agent-agent", "spiffe://corp.example/agents/x-agent"),
        ("agent-1:2/3", "spiffe://corp.example/3/x-1/2.y"),
        ("x.y+1", "spiffe://corp.example/plus/1"),
        ("xzy+1", None),
        ("x.yy1", None),
    ],
)
def test_names_and_agents(name: str, agent: str | None) -> None:
    """A name in braces holds what a segment may; what is made is a SPIFFE ID, or nothing."""
    assert ActorSettings(claim=("azp",), patterns=PATTERNS).agent_of(name) == agent


D: Final = "spiffe://corp.example"


@pytest.mark.parametrize(
    ("value", "template"),
    [
        ("agent", f"{D}/agent"),
        ("{a}", f"{D}/x"),
        ("x", f"{D}/{{a}}"),
        ("{a}:{b}", f"{D}/{{a}}"),
        ("{a}", f"{D}/{{a}}/{{b}}"),
        ("{a}:{a}", f"{D}/{{a}}"),
        ("{a}", f"{D}/{{a}}/{{a}}"),
        ("{a}{b}", f"{D}/{{a}}/{{b}}"),
        ("{a}-{b}", f"{D}/{{a}}/{{b}}"),
        ("{a}:{b}-x{c}", f"{D}/{{a}}/{{b}}/{{c}}"),
        ("{a}:{b}", f"{D}/{{a}}-{{b}}"),
        ("{a}:{b}:{c}", f"{D}/{{a}}/{{b}}.{{c}}"),
        ("{a}", "spiffe://{a}/x"),
        ("{a}:{b}", "spiffe://{a}.corp.example/{b}"),
        ("{a}", "https://corp.example/{a}"),
        ("{a}", f"{D}/../{{a}}"),
        ("{a}", f"{D}/{{a}}/"),
        ("{A}", f"{D}/{{A}}"),
        ("{a", f"{D}/{{a}}"),
        ("{a}}", f"{D}/{{a}}"),
        ("{a}", f"{D}/{{a!r}}"),
        ("{a}", f"{D}/{{a.b}}"),
    ],
)
def test_ambiguous_patterns_are_refused(value: str, template: str) -> None:
    """A pattern by which two names could make one ID, or a name choose its domain, is no config."""
    with pytest.raises(ValueError, match=r"[a-z]"):
        ValuePattern.parse(value, template)


@pytest.mark.parametrize("value", PATTERNS)
def test_time_is_linear(value: str) -> None:
    """A name that nearly fits takes no more for each byte, however long it is."""
    pattern = ValuePattern.parse(value, PATTERNS[value])
    begin = "system:serviceaccount:" if value == ACCOUNTS else "agent-"
    units = ("a", "a:", "-agent", "a:b/", ".-")
    place = Place("name", 1 << 18, units, lambda text: lambda: pattern.make(f"{begin}{text}\n"))
    for unit in units:
        assert growth(place, unit) < 32, unit
