"""The rows of the dashboard about the server's parts: keys, policy, audit log, process."""

from typing import Final

from generating.dashboard_panels import (
    Panel,
    age,
    chosen,
    growth,
    growth_by,
    quantile,
    rate,
    rates_by,
)

PARTS: Final[dict[str, tuple[Panel, ...]]] = {
    "Keys and certificates": (
        Panel(
            "Age of keys",
            "Since each issuer's keys were last fetched, at the server that did so longest ago. "
            "They are used until keys.max_age.",
            {"{{issuer}}": f"max by (issuer) ({chosen('authz_keys_age_seconds')})"},
            "s",
        ),
        Panel(
            "Keys",
            "Usable and refused keys of each issuer, at the server with the fewest.",
            {"{{issuer}} {{state}}": f"min by (issuer, state) ({chosen('authz_keys')})"},
        ),
        Panel(
            "Fetches of keys",
            "By result.",
            {"{{issuer}} {{result}}": rates_by("issuer, result", "authz_key_fetches_total")},
            "reqps",
        ),
        Panel(
            "Next fetch of keys",
            "Until the next fetch. Below zero the server has stopped fetching.",
            {
                "{{issuer}}": "min by (issuer) "
                f"({chosen('authz_keys_next_refresh_timestamp_seconds')}) - time()"
            },
            "s",
        ),
        Panel(
            "Certificate ends in",
            "Until the end of the server's certificate. Empty without server.tls.",
            {
                "{{instance}}": (
                    f"{chosen('authz_tls_certificate_expiry_timestamp_seconds')} - time()"
                )
            },
            "s",
        ),
        Panel(
            "Changes of the certificate",
            "Changed TLS files that were taken, or refused as unusable. Empty without server.tls.",
            {"{{instance}} {{result}}": growth("authz_tls_reloads_total")},
        ),
    ),
    "Other servers": (
        Panel(
            "Signing keys",
            "Published keys of our own tokens, by use. Empty without assertions.",
            {"{{use}}": f"max by (use) ({chosen('authz_signing_keys')})"},
        ),
        Panel(
            "Next signing key in",
            "Until another key begins to sign. Empty without such a key.",
            {"{{instance}}": f"{chosen('authz_signing_key_next_timestamp_seconds')} - time()"},
            "s",
        ),
        Panel(
            "Changes of signing keys",
            "Changed files whose key was taken, or refused as unusable. In red: 1 while a file "
            "can't be used. Empty without assertions.",
            {
                "{{instance}} {{result}}": growth("authz_signing_key_reloads_total"),
                "{{instance}} unusable": chosen("authz_signing_key_refused"),
            },
        ),
        Panel(
            "Assertions for upstreams",
            "Signed or failed. At zero without assertions.",
            {"{{result}}": rates_by("result", "authz_assertions_total")},
            "reqps",
        ),
        Panel(
            "Questions to the decision point",
            "By result. At zero without pdp.",
            {"{{result}}": rates_by("result", "authz_pdp_calls_total")},
            "reqps",
        ),
        Panel(
            "Time of the decision point",
            "Percentiles of its calls.",
            {
                "p50": quantile("0.5", "le", "authz_pdp_duration_seconds"),
                "p99": quantile("0.99", "le", "authz_pdp_duration_seconds"),
            },
            "s",
        ),
        Panel(
            "Introspections",
            "Questions about opaque tokens by result. Empty without introspection.",
            {
                "{{issuer}} {{result}}": rates_by(
                    "issuer, result", "authz_introspection_calls_total"
                )
            },
            "reqps",
        ),
        Panel(
            "Time of introspection",
            "99th percentile of the calls. Empty without introspection.",
            {"{{issuer}}": quantile("0.99", "issuer, le", "authz_introspection_duration_seconds")},
            "s",
        ),
        Panel(
            "Exchanges of tokens",
            "Tokens for upstreams by result. Empty without exchange.",
            {"{{issuer}} {{result}}": rates_by("issuer, result", "authz_exchanges_total")},
            "reqps",
        ),
        Panel(
            "Time of exchanges",
            "99th percentile of the calls. Empty without exchange.",
            {"{{issuer}}": quantile("0.99", "issuer, le", "authz_exchange_duration_seconds")},
            "s",
        ),
        Panel(
            "Memory of exchanged tokens",
            "Of the server that remembers most. At zero without exchange.",
            {"most": f"max({chosen('authz_exchange_memory_bytes')})"},
            "bytes",
        ),
        Panel(
            "Uses of proofs and one-time tokens",
            "By result: passed is good, used a replay or an unnamed retry; the others say what the "
            "store could not do. At zero without such requests.",
            {"{{kind}} {{result}}": rates_by("kind, result", "authz_single_uses_total")},
            "reqps",
        ),
        Panel(
            "Fetches of status lists",
            "By result. Empty without status_list.",
            {
                "{{issuer}} {{result}}": rates_by(
                    "issuer, result", "authz_status_list_fetches_total"
                )
            },
            "reqps",
        ),
        Panel(
            "Age of status lists",
            "Of the oldest list in use. Empty without status_list.",
            {
                "{{issuer}}": "time() - min by (issuer)"
                f" ({chosen('authz_status_list_oldest_timestamp_seconds')})"
            },
            "s",
        ),
        Panel(
            "Status lists",
            "Those in use, of the server that uses most. Empty without status_list.",
            {"{{issuer}}": f"max by (issuer) ({chosen('authz_status_lists')})"},
        ),
        Panel(
            "Open circuit breakers",
            "1 while some agent's questions are not sent, as they failed.",
            {
                "decision point": f"max({chosen('authz_pdp_breaker_open')})",
                "{{issuer}}": f"max by (issuer) ({chosen('authz_introspection_breaker_open')})",
                "exchange {{issuer}}": f"max by (issuer) ({chosen('authz_exchange_breaker_open')})",
            },
            bad_from=1,
        ),
    ),
    "Policy": (
        Panel(
            "Budgets",
            "Spendings of rules' budgets. exhausted was refused; away and full too, as the store "
            "did not count. Empty without budgets.",
            {"{{rule}} {{result}}": rates_by("rule, result", "authz_budgets_total")},
            "reqps",
        ),
        Panel(
            "Policies in force",
            "Servers by version of the policy. More than one line is a rollout.",
            {"{{version}}": f"count by (version) ({chosen('authz_policy_info')})"},
        ),
        Panel(
            "Reloads of the config",
            "Changed configs that were taken or refused.",
            {"{{result}}": growth_by("result", "authz_config_reloads_total")},
        ),
        Panel(
            "Config",
            "refused: the config on disk is invalid, and the last valid one is in force. "
            "shadow: what the rules refuse is allowed.",
            {
                "refused": f"max({chosen('authz_config_refused')})",
                "shadow": f"max({chosen('authz_shadow')})",
            },
            bad_from=1,
        ),
        Panel(
            "Config in force since",
            "Of each server.",
            {"{{instance}}": age("authz_config_last_reload_timestamp_seconds")},
            "s",
        ),
        Panel(
            "Revocations",
            "Those in force of the file and the store, at the server with the fewest.",
            {"{{source}}": f"min by (source) ({chosen('authz_revocations')})"},
        ),
        Panel(
            "Age of revocations",
            "Since file and store were last read, as of the scrape. It should be a second or two.",
            {
                "{{instance}} {{source}}": (
                    f"timestamp({chosen('authz_revocations_last_look_timestamp_seconds')}) - "
                    f"{chosen('authz_revocations_last_look_timestamp_seconds')}"
                )
            },
            "s",
        ),
        Panel(
            "Signals",
            "Security events and logouts that issuers told of, by what became of them. Empty "
            "without signals.",
            {"{{result}}": growth_by("result", "authz_signals_total")},
        ),
        Panel(
            "Polls of transmitters",
            "Questions for security events, and whether they were answered. Empty without poll.",
            {"{{issuer}} {{result}}": growth_by("issuer, result", "authz_signal_polls_total")},
        ),
        Panel(
            "Silence of transmitters",
            "Since the last valid signal came, or an answer to a poll, as of the scrape. Empty "
            "without signals.",
            {"{{issuer}}": age("authz_signals_last_timestamp_seconds")},
            "s",
        ),
        Panel(
            "Reloads of revocations",
            "Changes of file and store that were taken or refused.",
            {"{{result}}": growth_by("result", "authz_revocation_reloads_total")},
        ),
        Panel(
            "Revocations without the store",
            "Whether the store has been away for too long, and how often it had lost some.",
            {
                "away": f"max({chosen('authz_revocations_away')})",
                "lost": f"sum({chosen('authz_revocations_lost_total')})",
            },
            bad_from=1,
        ),
    ),
    "Audit": (
        Panel(
            "Records",
            "Records delivered to each sink.",
            {"{{sink}}": rates_by("sink", "authz_audit_records_total")},
            "cps",
        ),
        Panel(
            "Lost records",
            "dropped: there was no room, for the sink without a name before any sink. rejected: "
            "the receiver will never take them.",
            {
                "{{sink}} dropped": growth_by("sink", "authz_audit_dropped_total"),
                "{{sink}} rejected": growth_by("sink", "authz_audit_rejected_total"),
            },
        ),
        Panel(
            "Failed writes",
            "Writes that are tried again.",
            {"{{sink}}": rates_by("sink", "authz_audit_errors_total")},
            "cps",
        ),
        Panel(
            "Receivers that fail",
            "1 while records can't be delivered to a sink, checkpoints to the witness, or spans of "
            "traces to their collector.",
            {
                "{{sink}}": f"max by (sink) ({chosen('authz_audit_failing')})",
                "witness": f"max({chosen('authz_audit_witness_failing')})",
                "traces": f"max({chosen('authz_trace_export_failing')})",
            },
            bad_from=1,
        ),
        Panel(
            "Records in memory",
            "Waiting for each sink.",
            {"{{sink}}": f"sum by (sink) ({chosen('authz_audit_queue_length')})"},
        ),
        Panel(
            "Records on disk",
            "Spooled while a receiver is away.",
            {"{{sink}}": f"sum by (sink) ({chosen('authz_audit_spool_bytes')})"},
            "bytes",
        ),
        Panel(
            "Age of the last checkpoint",
            "Since records were last signed. It grows while there is nothing to record. Empty "
            "without audit.chain.",
            {"{{instance}}": age("authz_audit_checkpoint_timestamp_seconds")},
            "s",
        ),
    ),
    "Token service": (
        Panel(
            "Token requests by reason",
            "To authz sts; without a reason a token was issued. Empty where it is not scraped.",
            {"{{reason}}": rates_by("reason", "authz_sts_requests_total")},
            "reqps",
        ),
        Panel(
            "Answers of the token service",
            "By HTTP status, those of its metadata and keys among them.",
            {"{{status}}": rates_by("status", "authz_sts_answers_total")},
            "reqps",
        ),
        Panel(
            "Consents",
            "Of principals, in the file and in the store, and entries that are none.",
            {
                "{{source}}": f"max by (source) ({chosen('authz_sts_consents')})",
                "{{source}} invalid": f"max by (source) ({chosen('authz_sts_consents_invalid')})",
            },
        ),
        Panel(
            "Connections of the token service",
            "In a TLS handshake, or open; and requests that are being decided.",
            {
                "{{state}}": f"sum by (state) ({chosen('authz_sts_connections')})",
                "deciding": f"sum({chosen('authz_sts_running')})",
            },
        ),
        Panel(
            "Connections refused",
            "In their handshake, as without a trusted certificate, or for lack of room.",
            {"{{cause}}": rates_by("cause", "authz_sts_connections_refused_total")},
            "cps",
        ),
    ),
    "Process": (
        Panel(
            "Restarts of workers",
            "Workers that ended (restarts), and those of them that hung and were killed.",
            {
                "{{instance}} restarts": growth("authz_worker_restarts_total"),
                "{{instance}} kills": growth("authz_worker_kills_total"),
            },
        ),
        Panel(
            "Time since progress",
            "Of each part of the process, at the slowest server.",
            {"{{part}}": f"max by (part) ({chosen('authz_idle_seconds')})"},
            "s",
        ),
        Panel(
            "Lost lines of the log",
            "By cause: the queue was full, lines repeated too often, or a write failed.",
            {"{{cause}}": rates_by("cause", "authz_log_lost_total")},
            "cps",
        ),
        Panel(
            "Spans of traces",
            "exported to the collector, rejected by it, or dropped as it did not take them. At "
            "zero without traces.",
            {"{{result}}": rates_by("result", "authz_trace_spans_total")},
            "cps",
        ),
        Panel(
            "Store",
            "1 while the store that replicas share can be used. Empty without a store.",
            {"{{instance}}": f"min by (instance) ({chosen('authz_store_up')})"},
        ),
        Panel(
            "Calls of the store",
            "away had no answer, held_back were not made, busy had too little time, forgot met"
            " a store that had lost marks. Empty without a store.",
            {"{{operation}} {{result}}": rates_by("operation, result", "authz_store_calls_total")},
            "cps",
        ),
        Panel(
            "Time since the store's last answer",
            "At the slowest server. Empty without a store.",
            {"{{instance}}": age("authz_store_answered_timestamp_seconds")},
            "s",
        ),
        Panel(
            "Calls refused or ended",
            "Callers that may not ask, incomplete messages (half_open), unread answers (unread).",
            {
                "not allowed": f"sum({rate('authz_callers_refused_total')})",
                "{{cause}}": rates_by("cause", "authz_calls_ended_total"),
            },
            "reqps",
        ),
        Panel(
            "Versions",
            "Servers by the version that they run.",
            {"{{version}}": f"count by (version) ({chosen('authz_build_info')})"},
        ),
    ),
}
