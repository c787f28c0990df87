"""The ``revocations`` section of the config."""

from authz.core.settings import FileText, Settings


class RevocationSettings(Settings):
    """Tokens, principals and agents that are revoked before they expire."""

    file: FileText | None = None
    """A file with one JSON object a line, checked five times a second. An added line counts at
    once; a removed line stops counting once the file has not changed for a second.
    """
