"""Text that others wrote, made fit for a terminal and for a line of a log."""


def one_line(text: str) -> str:
    """Return the text with an escape for each character that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
