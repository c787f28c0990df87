"""The ``revocations`` section of the config."""

from typing import Final

from pydantic import Field

from authz.core.choice import Choice
from authz.core.settings import Duration, FileText, Settings

# A lost file must not be replaced by an empty one: what was revoked would be allowed again.
NEW_FILE: Final = "if it is new, begin with an empty file"
MAX_AWAY_SECONDS: Final = 7 * 86_400.0


class WhenStoreAway(Choice):
    """What is done with requests while the store does not say what is revoked."""

    DENY = "deny"
    SERVE = "serve"


class RevocationSettings(Settings):
    """Tokens, principals, agents and tools that are revoked, in a file, and in the store if any."""

    file: FileText | None = None
    """A file with one JSON object a line, checked five times a second. An added line counts at
    once; a removed line stops counting once the file has not changed for a second.
    """
    when_away: WhenStoreAway = WhenStoreAway.DENY
    """What happens when the store has not answered for away_after: deny refuses every request,
    which is then not ready either; serve goes by the revocations that are known.
    """
    away_after: Duration = Field(default=60.0, ge=1.0, le=MAX_AWAY_SECONDS)
    """How long the store may be away before when_away counts: new revocations do not arrive
    meanwhile.
    """
