"""The metric families of the tokens that we make, or have made: signed, exchanged, issued."""

from typing import Final

from authz.adapters.metrics.family import COUNTER, GAUGE, HISTOGRAM, Family

TOKEN_FAMILIES: Final[dict[str, Family]] = {
    "authz_signing_keys": Family(
        GAUGE,
        ("use",),
        "Published keys of the tokens that we sign: the current one, next ones, and previous ones",
    ),
    "authz_signing_key_next_timestamp_seconds": Family(
        GAUGE,
        (),
        "When another key begins to sign; no sample if none is due",
    ),
    "authz_signing_key_reloads": Family(
        COUNTER,
        ("result",),
        "Changed files of signing keys: taken, or refused as they hold no valid key",
    ),
    "authz_signing_key_refused": Family(
        GAUGE,
        (),
        "1 while the file of a signing key can't be used, and its last valid key stays in use",
    ),
    "authz_assertions": Family(
        COUNTER,
        ("result",),
        "Assertions for upstreams, signed, failed or too long; remembered ones are signed once",
    ),
    "authz_exchanges": Family(
        COUNTER,
        ("issuer", "result"),
        "Exchanges of clients' tokens for upstreams' tokens at an issuer's token endpoint",
    ),
    "authz_exchange_duration_seconds": Family(
        HISTOGRAM,
        ("issuer",),
        "Duration of calls to an issuer's token endpoint",
    ),
    "authz_exchange_breaker_open": Family(
        GAUGE,
        ("issuer",),
        "1 while a circuit breaker is open: some agent's exchanges failed and are not tried",
    ),
    "authz_exchange_memory_bytes": Family(
        GAUGE,
        (),
        "Memory of the exchanged tokens that are remembered",
    ),
    "authz_sts_requests": Family(
        COUNTER,
        ("reason",),
        "Requests to the token service by the reason of the refusal, empty for an issued token",
    ),
    "authz_sts_answers": Family(
        COUNTER,
        ("status",),
        "Answers of the token service by HTTP status, its metadata and keys among them",
    ),
    "authz_sts_consents": Family(
        GAUGE, ("source",), "Consents of principals, in the file and in the store"
    ),
    "authz_sts_consents_invalid": Family(
        GAUGE, ("source",), "Entries of the file and the store that are no consents"
    ),
    "authz_sts_running": Family(GAUGE, (), "Token requests that are being decided"),
    "authz_sts_connections": Family(
        GAUGE, ("state",), "Connections to the token service: in a handshake, or open"
    ),
    "authz_sts_connections_refused": Family(
        COUNTER,
        ("cause",),
        "Connections to the token service that ended in their TLS handshake, or found no room",
    ),
}
