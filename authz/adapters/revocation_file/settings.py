"""The ``revocations`` section of the config."""

from typing import Final

from authz.core.settings import FileText, Settings

# A lost file must not be replaced by an empty one: what was revoked would be allowed again.
NEW_FILE: Final = "if it is new, begin with an empty file"


class RevocationSettings(Settings):
    """Tokens, principals and agents that are revoked before they expire."""

    file: FileText | None = None
    """A file with one JSON object a line, checked five times a second. An added line counts at
    once; a removed line stops counting once the file has not changed for a second.
    """
