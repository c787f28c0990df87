"""The ``cache`` section of the config."""

from pydantic import Field

from authz.core.settings import Duration, Settings


class CacheSettings(Settings):
    """Remembered decisions and tokens: how many, and for how long."""

    entries: int = Field(default=50_000, ge=0, le=5_000_000)
    """Decisions remembered at most; 0 for none."""
    tokens: int = Field(default=20_000, ge=0, le=5_000_000)
    """Verified tokens remembered at most; 0 for none."""
    max_bytes: int = Field(default=128 * 1024 * 1024, ge=0)
    """The most memory for remembered decisions, and as much again for remembered tokens, in bytes.
    Parts that decisions share are counted for each of them, so the real use is lower.
    """
    ttl: Duration = Field(default=30.0, ge=0.0, le=3600.0)
    """The longest time that an allow is remembered; less if its token or certificate expires
    sooner.
    """
    deny_ttl: Duration = Field(default=1.0, ge=0.0, le=60.0)
    """The longest time that a deny is remembered."""
