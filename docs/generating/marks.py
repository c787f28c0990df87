"""What generated pages have in common: the line that says so, and names that can be linked to."""

from typing import Final

MADE: Final = "<!-- Made by docs/generate.py: change the code, then run `make generate`. -->\n\n"


def anchored(anchor: str, name: str) -> str:
    """Return a name in code that is its own link, in HTML that forges and the site show alike."""
    return f'<a id="{anchor}" href="#{anchor}">`{name}`</a>'
