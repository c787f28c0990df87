"""Sends requests, and shows as a table how they ended and should end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.client import Reply

INDENT = 2
_COLOURS = {"green": "32", "red": "31", "dim": "2", "bold": "1"}


@dataclass(frozen=True)
class Line:
    """A request of the story, and how it must end.

    ``reason`` is agent-authz's, "" for an allow, "envoy" where Envoy refuses before it asks.
    """

    who: str
    for_whom: str
    what: str
    status: int
    reason: str
    why: str
    send: Callable[[], Reply]
    also: Callable[[Reply], bool] = lambda _: True


def sent(line: Line) -> Reply:
    """Send the request."""
    try:
        return line.send()
    except OSError:  # Envoy ended the TLS connection
        return Reply(0, {}, b"")


def tell(lines: Sequence[Line], *, colours: bool) -> int:
    """Send every request, print a row for each, and count those that ended as expected."""
    paint = _painter(colours)
    titles = ("agent", "acting for", "request", "answer", "why")
    rows = [(x.who, x.for_whom, x.what, f"{x.status or 'TLS alert'} {x.reason}") for x in lines]
    columns = zip(titles[:-1], *rows, strict=True)
    widths = [max(map(len, column)) for column in columns]
    print(paint("bold", _row(titles, widths)))
    expected = 0
    for line in lines:
        reply = sent(line)
        is_expected = as_expected(line, reply)
        expected += is_expected
        answer = f"{reply.status or 'TLS alert'} {reply.reason}".strip()
        row = _row((line.who, line.for_whom, line.what, answer, line.why), widths)
        mark = "" if is_expected else f"  <- expected {line.status} {line.reason}"
        colour = "green" if reply.status == 200 else "dim"
        print(paint(colour if is_expected else "red", row + mark))
        if reply.told:
            print(paint("dim", f"{' ' * INDENT}{reply.told}"))
    return expected


def as_expected(line: Line, reply: Reply) -> bool:
    """Tell whether the request ended as it must."""
    reason = "" if line.reason == "envoy" else line.reason
    return reply.status == line.status and reply.reason == reason and line.also(reply)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=True)]
    return "  ".join([*padded, cells[-1]])


def _painter(colours: bool) -> Callable[[str, str], str]:  # noqa: FBT001 - private
    def paint(colour: str, text: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colours else text

    return paint
