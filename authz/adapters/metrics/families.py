"""The table of all metric families."""

from enum import StrEnum
from typing import Final, NamedTuple

BUCKETS_SECONDS: Final = (
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0,
)  # fmt: skip


class FamilyKind(StrEnum):
    """The Prometheus type of a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    """The declaration of a metric family; ``text`` is its help."""

    kind: FamilyKind
    labels: tuple[str, ...]
    text: str


_COUNTER: Final = FamilyKind.COUNTER
_GAUGE: Final = FamilyKind.GAUGE
_HISTOGRAM: Final = FamilyKind.HISTOGRAM
# By name: the reference page and scrapes are made from this table.
FAMILIES: Final[dict[str, Family]] = {
    "authz_decisions": Family(_COUNTER, ("decision", "reason"), "Decisions by outcome and reason"),
    "authz_agent_refusals": Family(
        _COUNTER,
        ("agent",),
        "Refusals of an agent with a proven identity: the first 100 agents, (others) for the rest",
    ),
    "authz_signing_keys": Family(
        _GAUGE,
        ("use",),
        "Published keys of the tokens that we sign: the current one, next ones, and previous ones",
    ),
    "authz_signing_key_next_timestamp_seconds": Family(
        _GAUGE,
        (),
        "When another key begins to sign; no sample if none is due",
    ),
    "authz_signing_key_reloads": Family(
        _COUNTER,
        ("result",),
        "Changed files of signing keys: taken, or refused as they hold no valid key",
    ),
    "authz_signing_key_refused": Family(
        _GAUGE,
        (),
        "1 while the file of a signing key can't be used, and its last valid key stays in use",
    ),
    "authz_assertions": Family(
        _COUNTER,
        ("result",),
        "Assertions for upstreams, signed, failed or too long; remembered ones are signed once",
    ),
    "authz_shadow_decisions": Family(
        _COUNTER,
        ("by", "decision"),
        "Decisions that another policy would have made differently; decision is that policy's",
    ),
    "authz_shadow": Family(
        _GAUGE,
        (),
        "1 while the config says shadow: true, which allows what the rules refuse",
    ),
    "authz_decision_duration_seconds": Family(
        _HISTOGRAM,
        ("cache",),
        "Time from receiving a check's bytes to returning its answer, without the transport",
    ),
    "authz_checks": Family(
        _GAUGE,
        ("waiting_for",),
        "Checks waiting for a thread, or for a remote party (keys, introspection, decision point)",
    ),
    "authz_single_uses": Family(
        _COUNTER,
        ("kind", "result"),
        "Uses of DPoP proofs, one-time tokens and approvals: passed, passed_locally (the store was"
        " away), used (before), away, full, busy (too many waited), ended (while it waited)",
    ),
    "authz_cache_entries": Family(_GAUGE, (), "Decisions in the cache"),
    "authz_keys": Family(
        _GAUGE,
        ("issuer", "state"),
        "Keys of an issuer, usable or refused",
    ),
    "authz_keys_age_seconds": Family(
        _GAUGE,
        ("issuer",),
        "Time since an issuer's last successful fetch",
    ),
    "authz_keys_last_success_timestamp_seconds": Family(
        _GAUGE,
        ("issuer",),
        "When an issuer's keys were last fetched successfully",
    ),
    "authz_keys_next_refresh_timestamp_seconds": Family(
        _GAUGE,
        ("issuer",),
        "When an issuer's keys are fetched next, unless an unknown key causes an earlier fetch",
    ),
    "authz_key_fetches": Family(
        _COUNTER,
        ("issuer", "result"),
        "Fetches of an issuer's keys",
    ),
    "authz_pdp_calls": Family(
        _COUNTER,
        ("result",),
        "Questions to the decision point",
    ),
    "authz_pdp_duration_seconds": Family(_HISTOGRAM, (), "Duration of calls to the decision point"),
    "authz_pdp_breaker_open": Family(
        _GAUGE,
        (),
        "1 while a circuit breaker is open: some agent's questions failed and are not sent",
    ),
    "authz_introspection_calls": Family(
        _COUNTER,
        ("issuer", "result"),
        "Questions to an issuer's introspection endpoint about opaque tokens",
    ),
    "authz_introspection_duration_seconds": Family(
        _HISTOGRAM,
        ("issuer",),
        "Duration of calls to an issuer's introspection endpoint",
    ),
    "authz_introspection_breaker_open": Family(
        _GAUGE,
        ("issuer",),
        "1 while a circuit breaker is open: some agent's questions failed and are not sent",
    ),
    "authz_exchanges": Family(
        _COUNTER,
        ("issuer", "result"),
        "Exchanges of clients' tokens for upstreams' tokens at an issuer's token endpoint",
    ),
    "authz_exchange_duration_seconds": Family(
        _HISTOGRAM,
        ("issuer",),
        "Duration of calls to an issuer's token endpoint",
    ),
    "authz_exchange_breaker_open": Family(
        _GAUGE,
        ("issuer",),
        "1 while a circuit breaker is open: some agent's exchanges failed and are not tried",
    ),
    "authz_exchange_memory_bytes": Family(
        _GAUGE,
        (),
        "Memory of the exchanged tokens that are remembered",
    ),
    "authz_budgets": Family(
        _COUNTER,
        ("rule", "result"),
        "Spendings of rules' budgets, by what became of them",
    ),
    "authz_status_list_fetches": Family(
        _COUNTER,
        ("issuer", "result"),
        "Fetches of an issuer's status lists",
    ),
    "authz_status_lists": Family(_GAUGE, ("issuer",), "Status lists of an issuer that are in use"),
    "authz_status_list_oldest_timestamp_seconds": Family(
        _GAUGE,
        ("issuer",),
        "When the oldest of an issuer's status lists in use was fetched",
    ),
    "authz_audit_records": Family(
        _COUNTER,
        ("sink",),
        "Audit records, and lines of the log itself, delivered to a sink",
    ),
    "authz_audit_dropped": Family(
        _COUNTER,
        ("sink",),
        'Audit records that a sink had no room for; of sink "", those that no sink was given',
    ),
    "authz_audit_rejected": Family(
        _COUNTER,
        ("sink",),
        "Audit records that a sink's receiver will never take",
    ),
    "authz_audit_errors": Family(
        _COUNTER,
        ("sink",),
        'Failed writes to a sink, whose records wait; of sink "", records that can\'t be encoded',
    ),
    "authz_audit_failing": Family(
        _GAUGE,
        ("sink",),
        "1 while a sink can't be written; its records wait while there is room",
    ),
    "authz_audit_queue_length": Family(
        _GAUGE,
        ("sink",),
        'Audit records waiting in memory for a sink; of sink "", those that no sink was given yet',
    ),
    "authz_audit_spool_bytes": Family(
        _GAUGE,
        ("sink",),
        "Bytes of audit records on disk, waiting for a sink's receiver",
    ),
    "authz_audit_checkpoint_timestamp_seconds": Family(
        _GAUGE,
        (),
        "When the last checkpoint of the audit log was signed, with audit.chain",
    ),
    "authz_audit_witness_failing": Family(
        _GAUGE,
        (),
        "1 while a witness of the audit log's checkpoints can't be reached",
    ),
    "authz_trace_spans": Family(
        _COUNTER,
        ("result",),
        "Spans that the collector took (exported), refused (rejected) or never took (dropped)",
    ),
    "authz_trace_export_failing": Family(
        _GAUGE,
        (),
        "1 while the collector takes no spans; checks are answered as ever",
    ),
    "authz_config_reloads": Family(_COUNTER, ("result",), "Reloads of a changed config"),
    "authz_config_last_reload_timestamp_seconds": Family(
        _GAUGE,
        (),
        "When the config in force was loaded",
    ),
    "authz_config_refused": Family(
        _GAUGE,
        (),
        "1 while the config on disk is invalid and the last valid config stays in force",
    ),
    "authz_revocations": Family(_GAUGE, ("source",), "Revocations in force, of file and store"),
    "authz_revocation_reloads": Family(
        _COUNTER,
        ("source", "result"),
        "Changes of the revocations of file and store, taken or refused as invalid",
    ),
    "authz_revocations_last_look_timestamp_seconds": Family(
        _GAUGE,
        ("source",),
        "When the revocations of file and store were last checked for changes",
    ),
    "authz_revocations_away": Family(
        _GAUGE,
        ("source",),
        "1 while the store has not said what is revoked for longer than away_after",
    ),
    "authz_revocations_lost": Family(
        _COUNTER,
        ("source",),
        "How often the store had lost revocations, which were then written to it again",
    ),
    "authz_store_up": Family(
        _GAUGE,
        (),
        "0 while the store that replicas share can't be used; empty without store",
    ),
    "authz_store_calls": Family(
        _COUNTER,
        ("operation", "result"),
        "Calls of the store; away had no answer, held_back were not made, busy had too little time,"
        " forgot met lost marks",
    ),
    "authz_store_answered_timestamp_seconds": Family(
        _GAUGE,
        (),
        "When the store last answered",
    ),
    "authz_callers_refused": Family(
        _COUNTER,
        (),
        "Calls refused because the caller may not ask, health checks included",
    ),
    "authz_calls_ended": Family(
        _COUNTER,
        ("cause",),
        "Calls ended as the message was incomplete (half_open) or the answer unread (unread)",
    ),
    "authz_tls_reloads": Family(
        _COUNTER,
        ("result",),
        "Reloads of the server's changed certificate; refused if it stays unusable for seconds",
    ),
    "authz_tls_certificate_expiry_timestamp_seconds": Family(
        _GAUGE,
        (),
        "When the server's own certificate expires, that of the last good files",
    ),
    "authz_worker_restarts": Family(_COUNTER, (), "Workers that ended and were restarted"),
    "authz_worker_kills": Family(
        _COUNTER,
        (),
        "Workers that were killed because they hung, and restarted",
    ),
    "authz_idle_seconds": Family(
        _GAUGE,
        ("part",),
        "Time since a part (main, revocations, store, config, pool) last made progress",
    ),
    "authz_signals": Family(
        _COUNTER,
        ("issuer", "event", "result"),
        "Security events and logouts that issuers told of (revoked, restored, noted, unmapped,"
        " repeated, refused, failed)",
    ),
    "authz_signal_polls": Family(
        _COUNTER, ("issuer", "result"), "Polls of transmitters (success, failure)"
    ),
    "authz_signals_last_timestamp_seconds": Family(
        _GAUGE,
        ("issuer",),
        "When the last valid signal of a transmitter's issuer came, or the last answer to a poll;"
        " at first, the start",
    ),
    "authz_log_lost": Family(
        _COUNTER,
        ("cause",),
        "Log lines not written: the queue was full, they repeated too often, or a write failed",
    ),
    "authz_policy_info": Family(
        _GAUGE,
        ("version",),
        "The policy in force, by its version",
    ),
    "authz_build_info": Family(_GAUGE, ("version",), "The running version of the server"),
    "authz_sts_requests": Family(
        _COUNTER,
        ("reason",),
        "Requests to the token service by the reason of the refusal, empty for an issued token",
    ),
    "authz_sts_answers": Family(
        _COUNTER,
        ("status",),
        "Answers of the token service by HTTP status, its metadata and keys among them",
    ),
    "authz_sts_consents": Family(
        _GAUGE, ("source",), "Consents of principals, in the file and in the store"
    ),
    "authz_sts_consents_invalid": Family(
        _GAUGE, ("source",), "Entries of the file and the store that are no consents"
    ),
    "authz_sts_running": Family(_GAUGE, (), "Token requests that are being decided"),
    "authz_sts_connections": Family(
        _GAUGE, ("state",), "Connections to the token service: in a handshake, or open"
    ),
    "authz_sts_connections_refused": Family(
        _COUNTER,
        ("cause",),
        "Connections to the token service that ended in their TLS handshake, or found no room",
    ),
}
