"""Makes untrusted text safe for a terminal and for a log line."""


def one_line(text: str) -> str:
    """Return the text with an escape for each character that a terminal would interpret."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
