"""The table of all metric families."""

from typing import Final

from authz.adapters.metrics.family import COUNTER, GAUGE, HISTOGRAM, Family
from authz.adapters.metrics.token_families import TOKEN_FAMILIES

# By name: the reference page and scrapes are made from this table.
FAMILIES: Final[dict[str, Family]] = {
    "authz_decisions": Family(COUNTER, ("decision", "reason"), "Decisions by outcome and reason"),
    "authz_agent_refusals": Family(
        COUNTER,
        ("agent",),
        "Refusals of an agent with a proven identity: the first 100 agents, (others) for the rest",
    ),
    "authz_shadow_decisions": Family(
        COUNTER,
        ("by", "decision"),
        "Decisions that another policy would have made differently; decision is that policy's",
    ),
    "authz_shadow": Family(
        GAUGE,
        (),
        "1 while the config says shadow: true, which allows what the rules refuse",
    ),
    "authz_decision_duration_seconds": Family(
        HISTOGRAM,
        ("cache",),
        "Time from receiving a check's bytes to returning its answer, without the transport",
    ),
    "authz_checks": Family(
        GAUGE,
        ("waiting_for",),
        "Checks waiting for a thread, or for a remote party (keys, introspection, decision point)",
    ),
    "authz_single_uses": Family(
        COUNTER,
        ("kind", "result"),
        "Uses of DPoP proofs, one-time tokens and approvals: passed, passed_locally (the store was"
        " away), used (before), away, full, busy (too many waited), ended (while it waited)",
    ),
    "authz_cache_entries": Family(GAUGE, (), "Decisions in the cache"),
    "authz_keys": Family(
        GAUGE,
        ("issuer", "state"),
        "Keys of an issuer, usable or refused",
    ),
    "authz_keys_age_seconds": Family(
        GAUGE,
        ("issuer",),
        "Time since an issuer's last successful fetch",
    ),
    "authz_keys_last_success_timestamp_seconds": Family(
        GAUGE,
        ("issuer",),
        "When an issuer's keys were last fetched successfully",
    ),
    "authz_keys_next_refresh_timestamp_seconds": Family(
        GAUGE,
        ("issuer",),
        "When an issuer's keys are fetched next, unless an unknown key causes an earlier fetch",
    ),
    "authz_key_fetches": Family(
        COUNTER,
        ("issuer", "result"),
        "Fetches of an issuer's keys",
    ),
    "authz_pdp_calls": Family(
        COUNTER,
        ("result",),
        "Questions to the decision point",
    ),
    "authz_pdp_duration_seconds": Family(HISTOGRAM, (), "Duration of calls to the decision point"),
    "authz_pdp_breaker_open": Family(
        GAUGE,
        (),
        "1 while a circuit breaker is open: some agent's questions failed and are not sent",
    ),
    "authz_introspection_calls": Family(
        COUNTER,
        ("issuer", "result"),
        "Questions to an issuer's introspection endpoint about opaque tokens",
    ),
    "authz_introspection_duration_seconds": Family(
        HISTOGRAM,
        ("issuer",),
        "Duration of calls to an issuer's introspection endpoint",
    ),
    "authz_introspection_breaker_open": Family(
        GAUGE,
        ("issuer",),
        "1 while a circuit breaker is open: some agent's questions failed and are not sent",
    ),
    "authz_budgets": Family(
        COUNTER,
        ("rule", "result"),
        "Spendings of rules' budgets, by what became of them",
    ),
    "authz_status_list_fetches": Family(
        COUNTER,
        ("issuer", "result"),
        "Fetches of an issuer's status lists",
    ),
    "authz_status_lists": Family(GAUGE, ("issuer",), "Status lists of an issuer that are in use"),
    "authz_status_list_oldest_timestamp_seconds": Family(
        GAUGE,
        ("issuer",),
        "When the oldest of an issuer's status lists in use was fetched",
    ),
    "authz_audit_records": Family(
        COUNTER,
        ("sink",),
        "Audit records, and lines of the log itself, delivered to a sink",
    ),
    "authz_audit_dropped": Family(
        COUNTER,
        ("sink",),
        'Audit records that a sink had no room for; of sink "", those that no sink was given',
    ),
    "authz_audit_rejected": Family(
        COUNTER,
        ("sink",),
        "Audit records that a sink's receiver will never take",
    ),
    "authz_audit_errors": Family(
        COUNTER,
        ("sink",),
        'Failed writes to a sink, whose records wait; of sink "", records that can\'t be encoded',
    ),
    "authz_audit_failing": Family(
        GAUGE,
        ("sink",),
        "1 while a sink can't be written; its records wait while there is room",
    ),
    "authz_audit_queue_length": Family(
        GAUGE,
        ("sink",),
        'Audit records waiting in memory for a sink; of sink "", those that no sink was given yet',
    ),
    "authz_audit_spool_bytes": Family(
        GAUGE,
        ("sink",),
        "Bytes of audit records on disk, waiting for a sink's receiver",
    ),
    "authz_audit_checkpoint_timestamp_seconds": Family(
        GAUGE,
        (),
        "When the last checkpoint of the audit log was signed, with audit.chain",
    ),
    "authz_audit_witness_failing": Family(
        GAUGE,
        (),
        "1 while a witness of the audit log's checkpoints can't be reached",
    ),
    "authz_trace_spans": Family(
        COUNTER,
        ("result",),
        "Spans that the collector took (exported), refused (rejected) or never took (dropped)",
    ),
    "authz_trace_export_failing": Family(
        GAUGE,
        (),
        "1 while the collector takes no spans; checks are answered as ever",
    ),
    "authz_config_reloads": Family(COUNTER, ("result",), "Reloads of a changed config"),
    "authz_config_last_reload_timestamp_seconds": Family(
        GAUGE,
        (),
        "When the config in force was loaded",
    ),
    "authz_config_refused": Family(
        GAUGE,
        (),
        "1 while the config on disk is invalid and the last valid config stays in force",
    ),
    "authz_revocations": Family(GAUGE, ("source",), "Revocations in force, of file and store"),
    "authz_revocation_reloads": Family(
        COUNTER,
        ("source", "result"),
        "Changes of the revocations of file and store, taken or refused as invalid",
    ),
    "authz_revocations_last_look_timestamp_seconds": Family(
        GAUGE,
        ("source",),
        "When the revocations of file and store were last checked for changes",
    ),
    "authz_revocations_away": Family(
        GAUGE,
        ("source",),
        "1 while the store has not said what is revoked for longer than away_after",
    ),
    "authz_revocations_lost": Family(
        COUNTER,
        ("source",),
        "How often the store had lost revocations, which were then written to it again",
    ),
    "authz_store_up": Family(
        GAUGE,
        (),
        "0 while the store that replicas share can't be used; empty without store",
    ),
    "authz_store_calls": Family(
        COUNTER,
        ("operation", "result"),
        "Calls of the store; away had no answer, held_back were not made, busy had too little time,"
        " forgot met lost marks",
    ),
    "authz_store_answered_timestamp_seconds": Family(
        GAUGE,
        (),
        "When the store last answered",
    ),
    "authz_callers_refused": Family(
        COUNTER,
        (),
        "Calls refused because the caller may not ask, health checks included",
    ),
    "authz_calls_ended": Family(
        COUNTER,
        ("cause",),
        "Calls ended as the message was incomplete (half_open) or the answer unread (unread)",
    ),
    "authz_tls_reloads": Family(
        COUNTER,
        ("result",),
        "Reloads of the server's changed certificate; refused if it stays unusable for seconds",
    ),
    "authz_tls_certificate_expiry_timestamp_seconds": Family(
        GAUGE,
        (),
        "When the server's own certificate expires, that of the last good files",
    ),
    "authz_worker_restarts": Family(COUNTER, (), "Workers that ended and were restarted"),
    "authz_worker_kills": Family(
        COUNTER,
        (),
        "Workers that were killed because they hung, and restarted",
    ),
    "authz_idle_seconds": Family(
        GAUGE,
        ("part",),
        "Time since a part (main, revocations, store, config, pool) last made progress",
    ),
    "authz_signals": Family(
        COUNTER,
        ("issuer", "event", "result"),
        "Security events and logouts that issuers told of (revoked, restored, noted, unmapped,"
        " repeated, refused, failed)",
    ),
    "authz_signal_polls": Family(
        COUNTER, ("issuer", "result"), "Polls of transmitters (success, failure)"
    ),
    "authz_signals_last_timestamp_seconds": Family(
        GAUGE,
        ("issuer",),
        "When the last valid signal of a transmitter's issuer came, or the last answer to a poll;"
        " at first, the start",
    ),
    "authz_log_lost": Family(
        COUNTER,
        ("cause",),
        "Log lines not written: the queue was full, they repeated too often, or a write failed",
    ),
    "authz_policy_info": Family(
        GAUGE,
        ("version",),
        "The policy in force, by its version",
    ),
    "authz_build_info": Family(GAUGE, ("version",), "The running version of the server"),
    **TOKEN_FAMILIES,
}
