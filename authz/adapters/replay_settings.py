"""The ``replay`` section of the config."""

from pydantic import Field

from authz.core.choice import WhenAway
from authz.core.settings import Settings


class ReplaySettings(Settings):
    """Remembered DPoP proofs and one-time tokens.

    They are in the store that replicas share, if the config has one; else in this process only, so
    that each process accepts a proof once.
    """

    entries: int = Field(default=200_000, ge=1, le=10_000_000)
    """The most proofs and tokens to remember in this process, some 250 bytes each; when full,
    requests with another are refused. A shared store has its own limit. In either case an agent may
    have half as many proofs in force at this process.
    """
    when_away: WhenAway = WhenAway.DENY
    """While the shared store does not answer: deny refuses requests with a proof or a one-time
    token; local lets each process remember for itself, so that each accepts it once.
    """
