"""The ``cache`` section of the config."""

from pydantic import Field

from authz.core.settings import Duration, Settings


class CacheSettings(Settings):
    """The caches of decisions and tokens: their sizes, and the times that entries are kept."""

    entries: int = Field(default=50_000, ge=0, le=5_000_000)
    """The most decisions to cache; 0 for none."""
    tokens: int = Field(default=20_000, ge=0, le=5_000_000)
    """The most verified tokens to cache; 0 for none."""
    max_bytes: int = Field(default=128 * 1024 * 1024, ge=0)
    """The most memory for cached decisions, and the same again for cached tokens, in bytes. Parts
    that decisions share are counted for each of them, so the real use is lower.
    """
    ttl: Duration = Field(default=30.0, ge=0.0, le=3600.0)
    """The longest time that an allow is cached; less if its token or certificate expires sooner.
    """
    deny_ttl: Duration = Field(default=1.0, ge=0.0, le=60.0)
    """The longest time that a deny is cached."""
