"""``authz keys``: shows the keys that a server would trust now, and why it refuses the others."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Final

from authz.adapters.fetched import FetchError
from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.sources import key_document_source
from authz.config import Config
from authz.core.jose.jwk import Key, KeySetError
from authz.wiring.snapshot import build_key_sources

MAX_AT_ONCE: Final = 8
KeyNews = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """The result of fetching an issuer's keys; ``error`` is "" if a key set was fetched."""

    issuer: str
    source: str
    keys: tuple[Key, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    error: str = ""

    def lines(self) -> list[str]:
        """Return the lines for a person: the issuer, then each key."""
        lines = [f"{self.issuer}  ({self.source})"]
        width = max((len(name) for name, _ in self._rows()), default=0)
        lines.extend(f"  {name.ljust(width)}  {what}" for name, what in self._rows())
        return lines

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        keys = [{"kid": key.key_id, "algorithms": sorted(key.algorithms)} for key in self.keys]
        return {
            "issuer": self.issuer,
            "source": self.source,
            "keys": keys,
            "refused": [{"kid": key_id, "why": why} for key_id, why in self.refused],
            "error": self.error or None,
        }

    def _rows(self) -> list[tuple[str, str]]:
        if self.error:
            return [("no keys:", self.error)]
        trusted = [(key.key_id, " ".join(sorted(key.algorithms))) for key in self.keys]
        refused = [(key_id, f"not used: {why}") for key_id, why in self.refused]
        return [*trusted, *refused] or [("no keys:", "all are revoked")]


def fetch_all(config: Config, news: KeyNews = lambda *_: None) -> list[IssuerKeys]:
    """Fetch every issuer's keys once, as a server would, and return them in the config's order.

    ``news`` is called with the place that has been asked longest, the number that have answered,
    and the number of all.
    """
    sources = build_key_sources(config)
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        asked = {pool.submit(fetch, *item): item[1].settings.name for item in sources.items()}
        left = dict(asked)
        news(next(iter(left.values()), ""), 0, len(asked))
        for done in as_completed(asked):
            del left[done]
            news(next(iter(left.values()), ""), len(asked) - len(left), len(asked))
        return [future.result() for future in asked]


def fetch(issuer: str, source: KeySourceConfig) -> IssuerKeys:
    """Fetch an issuer's keys once. Blocks for the timeout of its settings at most."""
    name = source.settings.name
    origin = key_document_source(source.settings, issuer)
    try:
        keys, refused = origin.parse(origin.fetch().body, source.algorithms)
    except (FetchError, KeySetError) as error:
        return IssuerKeys(issuer, name, error=str(error))
    finally:
        origin.close()
    return IssuerKeys(issuer, name, tuple(keys.values()), refused)
