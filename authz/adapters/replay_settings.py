"""The ``replay`` section of the config."""

from pydantic import Field

from authz.core.settings import Settings


class ReplaySettings(Settings):
    """Remembered DPoP proofs: in this process only, so each replica accepts a proof once."""

    entries: int = Field(default=200_000, ge=1, le=10_000_000)
    """The most proofs to remember, some 250 bytes each; when full, requests with a proof are
    refused.
    """
