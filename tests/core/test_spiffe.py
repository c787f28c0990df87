"""SPIFFE IDs, position by position: what section 2 of the standard takes, and nothing else."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.spiffe import SCHEME, SpiffeId, SpiffeIdError, TrustDomain
from authz.core.spiffe.spiffe_id import MAX_ID_BYTES, MAX_TRUST_DOMAIN_BYTES

DOMAIN = set(string.ascii_lowercase + string.digits + ".-_")
SEGMENT = set(string.ascii_letters + string.digits + ".-_")
# All of Latin-1, and what str.isalnum, \\w, lower() or NFKC would take for a letter or separator.
CHARS = [chr(code) for code in range(0x180)] + list(
    "\u0430\u0435\u0131\u017f\u0660\u06f0\u212a\u2024\u2025\u2044\u2215\u3002\uff0e\uff0f\uff41"
    "\u200b\u202e\u2028\ufeff\ud800\U0001d41a\U0001f600"
)
# Where a character can stand: alone, first, inside, last. (before, after)
PLACES = [("", ""), ("", "a"), ("a", "a"), ("a", "")]


def is_id(text: str) -> bool:
    """Whether the text is taken, and then is the very same."""
    try:
        parsed = SpiffeId.parse(text)
    except SpiffeIdError:
        return False
    assert str(parsed) == parsed.text == text
    return True


@pytest.mark.parametrize(("before", "after"), PLACES)
def test_trust_domain_characters(before: str, after: str) -> None:
    """At each place of a trust domain exactly a-z, 0-9, '.', '-' and '_' are taken (2.1)."""
    taken = {char for char in CHARS if is_id(f"{SCHEME}{before}{char}{after}/x")}

    # A slash ends the trust domain, which must not be empty, and begins a segment.
    assert taken - {"/"} == DOMAIN
    assert ("/" in taken) == (before != "" and after != "")


@pytest.mark.parametrize("prefix", ["", "first/", "a/b/"])
@pytest.mark.parametrize("suffix", ["", "/last"])
@pytest.mark.parametrize(("before", "after"), PLACES)
def test_segment_characters(prefix: str, suffix: str, before: str, after: str) -> None:
    """At each place of each segment exactly A-Z, a-z, 0-9, '.', '-' and '_' are taken (2.2)."""
    taken = {char for char in CHARS if is_id(f"{SCHEME}td/{prefix}{before}{char}{after}{suffix}")}
    dots = {"."} if before == after == "" else set()  # a dot alone is a dot segment

    assert taken - {"/"} == SEGMENT - dots
    assert ("/" in taken) == (before != "" and after != "")


@pytest.mark.parametrize("at", range(len(SCHEME)))
def test_the_scheme_has_one_spelling(at: int) -> None:
    """No character of the scheme may be upper case, missing or another."""
    for char in ("", "x", "/", ":", SCHEME[at].upper()):
        scheme = SCHEME[:at] + char + SCHEME[at + 1 :]
        if scheme != SCHEME:
            assert not is_id(f"{scheme}td/a")


@pytest.mark.parametrize("dots", range(1, 6))
@pytest.mark.parametrize("where", ["{}", "{}/a", "a/{}", "a/{}/b"])
def test_dot_segments(dots: int, where: str) -> None:
    """'.' and '..' are refused as segments anywhere; three dots are a name like others (2.2)."""
    assert is_id(f"{SCHEME}td/{where.format('.' * dots)}") == (dots > 2)


@pytest.mark.parametrize(("over", "is_good"), [(-1, True), (0, True), (1, False), (5000, False)])
def test_limits(over: int, is_good: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """IDs up to 2048 bytes and trust domains up to 255 are taken, longer ones not (2.3)."""
    start = f"{SCHEME}td/"
    assert is_id(start + "a" * (MAX_ID_BYTES + over - len(start))) == is_good
    assert is_id(f"{SCHEME}{'t' * (MAX_TRUST_DOMAIN_BYTES + over)}/a") == is_good
    assert (MAX_ID_BYTES, MAX_TRUST_DOMAIN_BYTES) == (2048, 255)


@pytest.mark.parametrize(
    "text", ["", " ", "td/", "spiffe://td", "TD", "t d", "td:1", "td\n", "\n", "t" * 256, "[::1]"]
)
def test_trust_domains_refused(text: str) -> None:
    """A trust domain is the bare name, in one spelling."""
    with pytest.raises(SpiffeIdError):
        TrustDomain.parse(text)


@pytest.mark.parametrize("text", ["a", "1.2.3.4", ".", "..", "-", "_", "a..b", "t" * 255])
def test_trust_domains_accepted(text: str) -> None:
    """The standard bounds the characters of a trust domain, not its shape (2.1)."""
    assert str(TrustDomain.parse(text)) == text


@given(
    st.text(st.sampled_from(sorted(DOMAIN)), min_size=1, max_size=12),
    st.lists(
        st.text(st.sampled_from(sorted(SEGMENT)), min_size=1, max_size=6).filter(
            lambda one: one not in {".", ".."}
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_what_the_grammar_makes_is_taken(domain: str, segments: list[str]) -> None:
    """Every ID that the grammar of section 2 can make is taken, and read as it was made."""
    parsed = SpiffeId.parse(f"{SCHEME}{domain}/{'/'.join(segments)}")

    assert parsed.trust_domain == TrustDomain.parse(domain)
    assert parsed.segments == tuple(segments)


@given(st.text(max_size=20))
def test_errors_do_not_repeat_the_text(text: str) -> None:
    """The error says which rule was broken; the text itself goes into no log."""
    hostile = f"needle{text}"
    with pytest.raises(SpiffeIdError) as caught:
        SpiffeId.parse(hostile)

    assert "needle" not in str(caught.value)


def test_equality() -> None:
    """Two IDs are equal when their texts are; case and neighbours in the path make others."""
    one = SpiffeId.parse("spiffe://td/agent-1")

    assert one == SpiffeId.parse("spiffe://td/agent-1")
    for other in ("spiffe://td/Agent-1", "spiffe://td/agent-10", "spiffe://td.x/agent-1"):
        assert one != SpiffeId.parse(other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///a",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td/a/",
        "spiffe://td//a",
        "spiffe://td/./a",
        "spiffe://td/../a",
        "spiffe://td/a/..",
        "spiffe:/td/a",
        "SPIFFE://td/a",
        "Spiffe://td/a",
        "spiffe://TD/a",
        "spiffe://td:80/a",
        "spiffe://u@td/a",
        "spiffe://td/a?x",
        "spiffe://td/a#x",
        "spiffe://td/%61",
        "spiffe://td/a\n",
        " spiffe://td/a",
        "spiffe://td/a,spiffe://td/b",
        "https://td/a",
        "CN=travel",
        f"spiffe://{'t' * 256}/a",
        "spiffe://td/" + "a" * 2048,
    ],
)
def test_ids_refused(text: str) -> None:
    """What is no workload's ID by SPIFFE-ID section 2 is refused."""
    with pytest.raises(SpiffeIdError):
        SpiffeId.parse(text)


@pytest.mark.parametrize("text", ["spiffe://td/...", "spiffe://1.2.3.4/a", "spiffe://td/a/B-_.9"])
def test_ids_accepted(text: str) -> None:
    """Odd but legal IDs are accepted as they are."""
    parsed = SpiffeId.parse(text)

    assert str(parsed) == text
    assert f"spiffe://{parsed.trust_domain}/{'/'.join(parsed.segments)}" == text
