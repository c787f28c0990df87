"""The panels of Grafana's dashboard: what each shows, by which queries, in which unit."""

from dataclasses import dataclass
from typing import Final

# The servers that are chosen at the top of the dashboard.
CHOSEN: Final = 'job=~"$job", instance=~"$instance"'
FAILURES: Final = "keys_unavailable|status_unavailable|pdp_unavailable|overloaded|internal_error"
NOW: Final = "time()"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        title, text: its title, and the description below it.
        queries: in PromQL, each with the legend of its series.
        unit: Grafana's name of the unit.
        kind: Grafana's name of the type of panel.
        bad_from: the least value that is shown in red, None if none is.
    """

    title: str
    text: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    bad_from: float | None = None


def _of(metric: str, *compared: str) -> str:
    return f"{metric}{{{', '.join((CHOSEN, *compared))}}}"


def _rate(metric: str, *compared: str) -> str:
    return f"rate({_of(metric, *compared)}[$__rate_interval])"


def _sum(by: str, metric: str, *compared: str) -> str:
    return f"sum by ({by}) ({_rate(metric, *compared)})"


def _quantile(share: str, by: str, metric: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}) ({_rate(f'{metric}_bucket')}))"


def _age(metric: str) -> str:
    return f"{NOW} - {metric}"


_DECISIONS: Final = "authz_decisions_total"
_DURATION: Final = "authz_decision_duration_seconds"
_ALLOWS: Final = 'decision="allow"'
_REFUSALS: Final = 'decision="deny"'
_FAILED: Final = f'reason=~"{FAILURES}"'
_HITS: Final = 'cache="hit"'
_ALL: Final = f"sum({_rate(_DECISIONS)})"

ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Overview": (
        Panel(
            "Servers",
            "Servers that are scraped and answer.",
            {"servers": f"count({_of('authz_build_info')})"},
            kind="stat",
        ),
        Panel(
            "Decisions a second",
            "All checks that were answered.",
            {"decisions": _ALL},
            "reqps",
            "stat",
        ),
        Panel(
            "Allowed",
            "The share of the checks that were allowed.",
            {"allowed": f"sum({_rate(_DECISIONS, _ALLOWS)}) / ({_ALL} > 0)"},
            "percentunit",
            "stat",
        ),
        Panel(
            "Failures of the service",
            "The share of the checks that were refused with 503, which is no caller's fault. "
            "The objective of the alerts is 0.1 %.",
            {"failures": f"sum({_rate(_DECISIONS, _FAILED)}) / ({_ALL} > 0)"},
            "percentunit",
            "stat",
            0.001,
        ),
        Panel(
            "99th percentile",
            "Within this time 99 % of the checks were answered.",
            {"p99": _quantile("0.99", "le", _DURATION)},
            "s",
            "stat",
            0.1,
        ),
        Panel(
            "Alerts that fire",
            "Those of authz-rules.yaml, if this Prometheus has them.",
            {"alerts": 'count(ALERTS{alertname=~"Authz.+", alertstate="firing"}) or vector(0)'},
            kind="stat",
            bad_from=1,
        ),
    ),
    "Decisions": (
        Panel(
            "Decisions by outcome",
            "Allows and refusals.",
            {"{{decision}}": _sum("decision", _DECISIONS)},
            "reqps",
        ),
        Panel(
            "Refusals by reason",
            "The ten most frequent reasons. docs/reference/reasons.md explains each.",
            {"{{reason}}": f"topk(10, {_sum('reason', _DECISIONS, _REFUSALS)})"},
            "reqps",
        ),
        Panel(
            "Failures by reason",
            "Refusals with 503: of the service, or of a server that it needs.",
            {"{{reason}}": _sum("reason", _DECISIONS, _FAILED)},
            "reqps",
        ),
        Panel(
            "Top refused agents",
            "Refusals in the time that is shown. A server names the first hundred refused agents, "
            "and counts the others together.",
            {
                "{{agent}}": "topk(10, sum by (agent) "
                f"(increase({_of('authz_agent_refusals_total')}[$__range])))"
            },
            kind="bargauge",
        ),
        Panel(
            "Refusals by agent",
            "The ten agents that are refused most often. A jump is a broken client, a changed "
            "policy, or an agent that tries what it may not do.",
            {"{{agent}}": f"topk(10, {_sum('agent', 'authz_agent_refusals_total')})"},
            "reqps",
        ),
        Panel(
            "What a policy in shadow would change",
            "Decisions that a candidate, or the rules while shadow is on, would make differently.",
            {"{{by}} {{decision}}": _sum("by, decision", "authz_shadow_decisions_total")},
            "reqps",
        ),
    ),
    "Latency": (
        Panel(
            "Time to decide, by cache",
            "Percentiles from a check's bytes to its answer, for remembered decisions (hit) and "
            "others (miss).",
            {
                "p50 {{cache}}": _quantile("0.5", "cache, le", _DURATION),
                "p99 {{cache}}": _quantile("0.99", "cache, le", _DURATION),
            },
            "s",
        ),
        Panel(
            "Times to decide",
            "How many checks took how long.",
            {"{{le}}": f"sum by (le) (increase({_of(f'{_DURATION}_bucket')}[$__rate_interval]))"},
            "s",
            "heatmap",
        ),
        Panel(
            "Remembered decisions",
            "The share of the checks whose decision was remembered.",
            {
                "remembered": f"sum({_rate(f'{_DURATION}_count', _HITS)}) "
                f"/ (sum({_rate(f'{_DURATION}_count')}) > 0)"
            },
            "percentunit",
        ),
        Panel(
            "Checks that wait",
            "For a thread, or for others: keys, introspection, the decision point. "
            "server.max_queued and server.max_waiting bound them.",
            {"{{waiting_for}}": f"sum by (waiting_for) ({_of('authz_checks')})"},
        ),
        Panel(
            "Decisions in the cache",
            "Of each server, all workers together.",
            {"{{instance}}": _of("authz_cache_entries")},
        ),
    ),
    "Keys and certificates": (
        Panel(
            "Age of keys",
            "Since each issuer's keys were last fetched, at the server that did so longest ago. "
            "They are used until keys.max_age.",
            {"{{issuer}}": f"max by (issuer) ({_of('authz_keys_age_seconds')})"},
            "s",
        ),
        Panel(
            "Keys",
            "Usable and refused keys of each issuer, at the server with the fewest.",
            {"{{issuer}} {{state}}": f"min by (issuer, state) ({_of('authz_keys')})"},
        ),
        Panel(
            "Fetches of keys",
            "By result.",
            {"{{issuer}} {{result}}": _sum("issuer, result", "authz_key_fetches_total")},
            "reqps",
        ),
        Panel(
            "Next fetch of keys",
            "Until the next fetch. Below zero the server has stopped fetching.",
            {
                "{{issuer}}": "min by (issuer) "
                f"({_of('authz_keys_next_refresh_timestamp_seconds')}) - {NOW}"
            },
            "s",
        ),
        Panel(
            "Certificate ends in",
            "Until the end of the server's certificate. Empty without server.tls.",
            {"{{instance}}": (f"{_of('authz_tls_certificate_expiry_timestamp_seconds')} - {NOW}")},
            "s",
        ),
        Panel(
            "Changes of the certificate",
            "Changed TLS files that were taken, or refused as unusable. Empty without server.tls.",
            {
                "{{instance}} {{result}}": (
                    f"increase({_of('authz_tls_reloads_total')}[$__rate_interval])"
                )
            },
        ),
    ),
    "Other servers": (
        Panel(
            "Questions to the decision point",
            "By result. At zero without pdp.",
            {"{{result}}": _sum("result", "authz_pdp_calls_total")},
            "reqps",
        ),
        Panel(
            "Time of the decision point",
            "Percentiles of its calls.",
            {
                "p50": _quantile("0.5", "le", "authz_pdp_duration_seconds"),
                "p99": _quantile("0.99", "le", "authz_pdp_duration_seconds"),
            },
            "s",
        ),
        Panel(
            "Introspections",
            "Questions about opaque tokens by result. Empty without introspection.",
            {"{{issuer}} {{result}}": _sum("issuer, result", "authz_introspection_calls_total")},
            "reqps",
        ),
        Panel(
            "Time of introspection",
            "99th percentile of the calls. Empty without introspection.",
            {"{{issuer}}": _quantile("0.99", "issuer, le", "authz_introspection_duration_seconds")},
            "s",
        ),
        Panel(
            "Open circuit breakers",
            "1 while some agent's questions are not sent, as they failed.",
            {
                "decision point": f"max({_of('authz_pdp_breaker_open')})",
                "{{issuer}}": f"max by (issuer) ({_of('authz_introspection_breaker_open')})",
            },
            bad_from=1,
        ),
    ),
    "Policy": (
        Panel(
            "Policies in force",
            "Servers by version of the policy. More than one line is a rollout.",
            {"{{version}}": f"count by (version) ({_of('authz_policy_info')})"},
        ),
        Panel(
            "Reloads of the config",
            "Changed configs that were taken or refused.",
            {
                "{{result}}": "sum by (result) "
                f"(increase({_of('authz_config_reloads_total')}[$__rate_interval]))"
            },
        ),
        Panel(
            "Config",
            "refused: the config on disk is invalid, and the last valid one is in force. "
            "shadow: what the rules refuse is allowed.",
            {
                "refused": f"max({_of('authz_config_refused')})",
                "shadow": f"max({_of('authz_shadow')})",
            },
            bad_from=1,
        ),
        Panel(
            "Config in force since",
            "Of each server.",
            {"{{instance}}": _age(_of("authz_config_last_reload_timestamp_seconds"))},
            "s",
        ),
        Panel(
            "Revocations",
            "Those in force, at the server with the fewest.",
            {"revocations": f"min({_of('authz_revocations')})"},
        ),
        Panel(
            "Age of revocations",
            "Since the file was last looked at, as of the scrape. It should be less than a second.",
            {
                "{{instance}}": (
                    f"timestamp({_of('authz_revocations_last_look_timestamp_seconds')}) - "
                    f"{_of('authz_revocations_last_look_timestamp_seconds')}"
                )
            },
            "s",
        ),
        Panel(
            "Reloads of revocations",
            "Changed files that were taken or refused.",
            {
                "{{result}}": "sum by (result) "
                f"(increase({_of('authz_revocation_reloads_total')}[$__rate_interval]))"
            },
        ),
    ),
    "Audit": (
        Panel(
            "Records",
            "Records delivered to each sink.",
            {"{{sink}}": _sum("sink", "authz_audit_records_total")},
            "cps",
        ),
        Panel(
            "Lost records",
            "dropped: there was no room, for the sink without a name before any sink. rejected: "
            "the receiver will never take them.",
            {
                "{{sink}} dropped": (
                    "sum by (sink) "
                    f"(increase({_of('authz_audit_dropped_total')}[$__rate_interval]))"
                ),
                "{{sink}} rejected": (
                    "sum by (sink) "
                    f"(increase({_of('authz_audit_rejected_total')}[$__rate_interval]))"
                ),
            },
        ),
        Panel(
            "Failed writes",
            "Writes that are tried again.",
            {"{{sink}}": _sum("sink", "authz_audit_errors_total")},
            "cps",
        ),
        Panel(
            "Sinks that fail",
            "1 while records can't be delivered to a sink, or checkpoints to the witness.",
            {
                "{{sink}}": f"max by (sink) ({_of('authz_audit_failing')})",
                "witness": f"max({_of('authz_audit_witness_failing')})",
            },
            bad_from=1,
        ),
        Panel(
            "Records in memory",
            "Waiting for each sink.",
            {"{{sink}}": f"sum by (sink) ({_of('authz_audit_queue_length')})"},
        ),
        Panel(
            "Records on disk",
            "Spooled while a receiver is away.",
            {"{{sink}}": f"sum by (sink) ({_of('authz_audit_spool_bytes')})"},
            "bytes",
        ),
        Panel(
            "Age of the last checkpoint",
            "Since records were last signed. It grows while there is nothing to record. Empty "
            "without audit.chain.",
            {"{{instance}}": _age(_of("authz_audit_checkpoint_timestamp_seconds"))},
            "s",
        ),
    ),
    "Process": (
        Panel(
            "Restarts of workers",
            "Workers that ended (restarts), and those of them that hung and were killed.",
            {
                "{{instance}} restarts": (
                    f"increase({_of('authz_worker_restarts_total')}[$__rate_interval])"
                ),
                "{{instance}} kills": (
                    f"increase({_of('authz_worker_kills_total')}[$__rate_interval])"
                ),
            },
        ),
        Panel(
            "Time since progress",
            "Of each part of the process, at the slowest server.",
            {"{{part}}": f"max by (part) ({_of('authz_idle_seconds')})"},
            "s",
        ),
        Panel(
            "Lost lines of the log",
            "By cause: the queue was full, lines repeated too often, or a write failed.",
            {"{{cause}}": _sum("cause", "authz_log_lost_total")},
            "cps",
        ),
        Panel(
            "Calls refused or ended",
            "Callers that may not ask, incomplete messages (half_open), unread answers (unread).",
            {
                "not allowed": f"sum({_rate('authz_callers_refused_total')})",
                "{{cause}}": _sum("cause", "authz_calls_ended_total"),
            },
            "reqps",
        ),
        Panel(
            "Versions",
            "Servers by the version that they run.",
            {"{{version}}": f"count by (version) ({_of('authz_build_info')})"},
        ),
    ),
}
