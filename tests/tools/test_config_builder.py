"""Configs built as data: a change is made where it is meant, or it is an error."""

import pytest

from lab.config_builder import LAB, ConfigBuilder

TEXT = """\
routes: [{name: a, paths: [/a]}, {name: b, paths: [/b]}]
grants:
  read: [{name: one, scopes: [s], during: [{hours: 08:00-18:00}]}]
flag: no
"""


def test_nothing_changes_nothing() -> None:
    """Without changes the text stays as it is, to the byte."""
    assert LAB.edit(TEXT) == TEXT


def test_changes_are_made_in_order() -> None:
    """Each is made to what those before it left; a builder can be used again, and joined."""
    first = LAB.with_(("grants", "read", "one", "scopes"), ["s", "t"])
    both = first.and_(LAB.with_items(("grants", "read", 0, "scopes"), "[u]", before=2))

    assert both.edit(TEXT) == both.edit(TEXT)
    assert "- s\n    - t\n    - u\n" in both.edit(TEXT)
    assert "- u\n" not in first.edit(TEXT)


def test_texts_stay_texts() -> None:
    """What the server reads as text, and other loaders do not, is text afterwards as well."""
    edited = LAB.with_(("flag",), "12:30").edit(TEXT)

    assert LAB.with_(("routes", "a", "name"), "c").edit(edited).endswith("flag: '12:30'\n")
    assert "flag: 'no'" in LAB.without(("routes", "a")).edit(TEXT)


@pytest.mark.parametrize(
    "change",
    [
        LAB.with_(("flags", "x"), 1),
        LAB.with_(("routes", "c", "paths"), []),
        LAB.with_(("routes", 2, "paths"), []),
        LAB.with_(("flag", "x"), 1),
        LAB.with_(("flag",), "no"),
        LAB.with_keys(("grants", "read", "one"), "scopes: [s]"),
        LAB.with_items(("grants",), "[a]"),
        LAB.with_items(("routes",), "[]"),
        LAB.with_items(("routes",), "[a]", before=3),
        LAB.with_section("flag", "yes"),
        LAB.with_grant("read", "[]"),
        LAB.with_profile("p", "{}"),
        LAB.without(("routes", "c")),
        LAB.without(("grants", "write")),
    ],
)
def test_a_change_that_would_change_nothing(change: ConfigBuilder) -> None:
    """A place that is not there, a value that is there already: an error."""
    with pytest.raises((KeyError, ValueError, TypeError, IndexError)):
        change.edit(TEXT)


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2", "&x a"])
def test_yaml_that_the_server_would_not_take(text: str) -> None:
    """A change is read as strictly as a config."""
    with pytest.raises(ValueError, match="the test's YAML"):
        LAB.with_yaml(("flag",), text)
