"""The ``consents`` section of the config."""

from authz.core.settings import FileText, Settings


class ConsentSettings(Settings):
    """What principals let agents do for them at the token service, in a file, and in the store."""

    file: FileText | None = None
    """A file with one JSON object a line, which `authz consent` adds to. An added line counts with
    the next request for a token, and a removed line counts no more from then on. A line that is
    invalid is no consent. The token service must be able to write the file and in its folder, if
    consents that may be used once are in it.
    """
