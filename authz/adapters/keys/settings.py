"""The ``key_cache`` section of the config."""

from pydantic import Field

from authz.core.settings import Settings


class KeyCacheSettings(Settings):
    """Issuers' keys kept on disk, for starting while an issuer can't be reached."""

    folder: str | None = Field(default=None, min_length=1)
    """A folder that belongs to the server alone, created with mode 0700 if it is missing; left out,
    no keys are kept. Anyone who can write in it decides which keys are trusted: no other user may
    be able to.
    """
