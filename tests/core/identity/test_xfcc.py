"""The header x-forwarded-client-cert: what Envoy writes is read, anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.identity.xfcc import MAX_CHARS, MAX_PAIRS, XfccElement, XfccError, parse

HASH = "a1" * 32
AGENT = "spiffe://corp.example/ns/agents/sa/travel"
EDGE = "spiffe://corp.example/ns/gateways/sa/edge"

GOOD: dict[str, tuple[XfccElement, ...]] = {
    f"By={EDGE};URI={AGENT}": (XfccElement((EDGE,), "", "", (AGENT,)),),
    f"By={EDGE};Hash={HASH};URI={AGENT}": (XfccElement((EDGE,), HASH, "", (AGENT,)),),
    f'Hash={HASH};Subject="";URI=': (XfccElement((), HASH, "", ("",)),),
    f'Subject="CN=a\\"b,O=c;d";URI={AGENT};DNS=a.example;DNS=b.example': (
        XfccElement((), "", "", (AGENT,)),
    ),
    'Cert="-----BEGIN%20CERTIFICATE-----%0A"': (
        XfccElement((), "", "-----BEGIN%20CERTIFICATE-----%0A", ()),
    ),
    f"URI={AGENT};URI={EDGE}": (XfccElement((), "", "", (AGENT, EDGE)),),
    f"URI={AGENT},URI={EDGE}": (
        XfccElement((), "", "", (AGENT,)),
        XfccElement((), "", "", (EDGE,)),
    ),
    f'URI="{AGENT}"': (XfccElement((), "", "", (AGENT,)),),
}


@pytest.mark.parametrize("text", GOOD)
def test_good(text: str) -> None:
    """What Envoy writes is taken apart, farthest proxy first."""
    assert parse(text) == GOOD[text]


BAD = [
    "",
    ",",
    ";",
    "URI",
    "=x",
    "uri=x",
    "URI =x",
    "URI= x",
    " URI=x",
    "URI=x ",
    "URI=x;",
    "URI=x,",
    ",URI=x",
    "URI=x,,URI=y",
    "URI=x;;By=y",
    "Other=x",
    "URI=a=b",
    'URI="x',
    'URI="x"y',
    'URI=x"y"',
    'Subject="a\\"',
    "URI=x\n",
    'Subject="a\nb"',
    "URI=x\x00",
    f"Hash={HASH};Hash={HASH}",
    'Subject="a";Subject="b"',
    'Cert="a";Cert="b"',
    "Hash=abc",
    f"Hash={HASH.upper()}",
    f"Hash={HASH}0",
    "URI=" + "x" * MAX_CHARS,
    ",".join(["URI=x"] * 17),
]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad(text: str) -> None:
    """What Envoy would not write is no such header, and the error does not repeat it."""
    with pytest.raises(XfccError) as caught:
        parse(text)
    assert len(str(caught.value)) < 80


_plain = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='",;=\\'))
_quoted = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


def _written(uris: list[str], subject: str, by: list[str]) -> str:
    """An element as Envoy writes it."""
    escaped = subject.replace("\\", "\\\\").replace('"', '\\"')
    pairs = [f"By={one}" for one in by] + [f'Subject="{escaped}"']
    return ";".join([*pairs, *(f"URI={uri}" for uri in uris)])


@given(st.lists(st.tuples(st.lists(_plain, max_size=3), _quoted, st.lists(_plain, max_size=2)),
                min_size=1, max_size=5))  # fmt: skip
def test_what_was_written_is_read(elements: list[tuple[list[str], str, list[str]]]) -> None:
    """Elements come back as they were written, whatever stands in a quoted value."""
    text = ",".join(_written(*element) for element in elements)

    assert [(list(one.uris), list(one.by)) for one in parse(text)] == [
        (uris, by) for uris, _, by in elements
    ]


@given(st.text() | st.text(st.sampled_from(list('ByURIHash=;,"\\ x'))))
def test_any_text(text: str) -> None:
    """Any text is elements or an XfccError, and nothing else."""
    try:
        elements = parse(text)
    except XfccError:
        return
    assert elements


def test_pairs() -> None:
    """The names of a public certificate fit; more pairs than any proxy writes are refused."""
    assert len(parse(";".join([f"URI={AGENT}"] * MAX_PAIRS))[0].uris) == MAX_PAIRS
    with pytest.raises(XfccError, match="pairs"):
        parse(";".join([f"URI={AGENT}"] * (MAX_PAIRS + 1)))
    with pytest.raises(XfccError, match="pairs"):
        parse(",".join([";".join([f"By={EDGE}"] * (MAX_PAIRS // 15))] * 16))
