"""Makes HTML from texts. Every text is escaped here, and nowhere else is HTML written."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Final

from authz.config.printable import one_line
from authz.review.audit_reading.listing import moment_text

MAX_CHARS: Final = 200  # of a text in a report
MAX_ROWS: Final = 500  # of a table: more than a reviewer reads


def text(value: object) -> str:
    """Return a text as HTML: escaped, in one line, cut if it is very long."""
    whole = str(value)
    cut = whole if len(whole) <= MAX_CHARS else f"{whole[:MAX_CHARS]}..."
    return escape(one_line(cut))


def section(anchor: str, title: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield a section with a heading. ``parts`` are HTML."""
    yield f'<section id="{text(anchor)}"><h2>{text(title)}</h2>'
    yield from parts
    yield "</section>"


def paragraph(words: str, kind: str = "") -> str:
    """Return a paragraph; ``kind`` is a class of the style."""
    return (
        f'<p class="{text(kind)}">{text_of_ours(words)}</p>'
        if kind
        else f"<p>{text_of_ours(words)}</p>"
    )


def text_of_ours(words: str) -> str:
    """Return words of the report itself, which are not cut, as HTML."""
    return escape(one_line(words))


def table(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence[object]], left_out: int = 0
) -> Iterator[str]:
    """Yield a table of MAX_ROWS at most; the first cell of a row is its heading.

    ``left_out`` counts further rows, which the caller has left out. Numbers stand at the right.
    """
    if not rows:
        return
    yield f"<table><caption>{text_of_ours(caption)}</caption><thead><tr>"
    yield from (f'<th scope="col">{text(heading)}</th>' for heading in headings)
    yield "</tr></thead><tbody>"
    for first, *others in rows[:MAX_ROWS]:
        cells = "".join(map(_cell, others))
        yield f'<tr><th scope="row">{text(first)}</th>{cells}</tr>'
    yield "</tbody></table>"
    if more := left_out + len(rows[MAX_ROWS:]):
        yield paragraph(f"{more} more are left out here: the table has the most frequent.", "note")


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, int) else ""
    return f"<td{kind}>{text(value)}</td>"


def moment(time: datetime | None, without: str = "") -> str:
    """Return a time in UTC to the second, or other words without one."""
    return f"{moment_text(time)[:19]} UTC" if time else without


def facts(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a list of names and values."""
    yield "<dl>"
    yield from (f"<dt>{text(name)}</dt><dd>{text_of_ours(value)}</dd>" for name, value in pairs)
    yield "</dl>"
