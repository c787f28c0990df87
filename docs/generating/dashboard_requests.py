"""The rows of the dashboard about requests: what was decided, for whom, how fast."""

from typing import Final

from generating.dashboard_panels import Panel, chosen, growth_by, quantile, rate, rates_by

_DECISIONS: Final = "authz_decisions_total"
_DURATION: Final = "authz_decision_duration_seconds"
_ALLOWS: Final = 'decision="allow"'
_REFUSALS: Final = 'decision="deny"'
# The reasons with status 503.
_FAILED: Final = (
    'reason=~"keys_unavailable|status_unavailable|exchange_unavailable|pdp_unavailable|store_unavailable|exchange_unavailable|overloaded|'
    'internal_error"'
)
_HITS: Final = 'cache="hit"'
_ALL: Final = f"sum({rate(_DECISIONS)})"

REQUESTS: Final[dict[str, tuple[Panel, ...]]] = {
    "Overview": (
        Panel(
            "Servers",
            "Servers that are scraped and answer.",
            {"servers": f"count({chosen('authz_build_info')})"},
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
            {"allowed": f"sum({rate(_DECISIONS, _ALLOWS)}) / ({_ALL} > 0)"},
            "percentunit",
            "stat",
        ),
        Panel(
            "Failures of the service",
            "The share of the checks that were refused with 503, which is no caller's fault. "
            "The objective of the alerts is 0.1 %.",
            {"failures": f"sum({rate(_DECISIONS, _FAILED)}) / ({_ALL} > 0)"},
            "percentunit",
            "stat",
            0.001,
        ),
        Panel(
            "99th percentile",
            "Within this time 99 % of the checks were answered.",
            {"p99": quantile("0.99", "le", _DURATION)},
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
            {"{{decision}}": rates_by("decision", _DECISIONS)},
            "reqps",
        ),
        Panel(
            "Refusals by reason",
            "The ten most frequent reasons. docs/reference/reasons.md explains each.",
            {"{{reason}}": f"topk(10, {rates_by('reason', _DECISIONS, _REFUSALS)})"},
            "reqps",
        ),
        Panel(
            "Failures by reason",
            "Refusals with 503: of the service, or of a server that it needs.",
            {"{{reason}}": rates_by("reason", _DECISIONS, _FAILED)},
            "reqps",
        ),
        Panel(
            "Top refused agents",
            "Refusals in the time that is shown. A server names the first hundred refused agents, "
            "and counts the others together.",
            {
                "{{agent}}": "topk(10, sum by (agent) "
                f"(increase({chosen('authz_agent_refusals_total')}[$__range])))"
            },
            kind="bargauge",
        ),
        Panel(
            "Refusals by agent",
            "The ten agents that are refused most often. A jump is a broken client, a changed "
            "policy, or an agent that tries what it may not do.",
            {"{{agent}}": f"topk(10, {rates_by('agent', 'authz_agent_refusals_total')})"},
            "reqps",
        ),
        Panel(
            "What a policy in shadow would change",
            "Decisions that a candidate, or the rules while shadow is on, would make differently.",
            {"{{by}} {{decision}}": rates_by("by, decision", "authz_shadow_decisions_total")},
            "reqps",
        ),
    ),
    "Latency": (
        Panel(
            "Time to decide, by cache",
            "Percentiles from a check's bytes to its answer, for remembered decisions (hit) and "
            "others (miss).",
            {
                "p50 {{cache}}": quantile("0.5", "cache, le", _DURATION),
                "p99 {{cache}}": quantile("0.99", "cache, le", _DURATION),
            },
            "s",
        ),
        Panel(
            "Times to decide",
            "How many checks took how long.",
            {"{{le}}": growth_by("le", f"{_DURATION}_bucket")},
            "s",
            "heatmap",
        ),
        Panel(
            "Remembered decisions",
            "The share of the checks whose decision was remembered.",
            {
                "remembered": f"sum({rate(f'{_DURATION}_count', _HITS)}) "
                f"/ (sum({rate(f'{_DURATION}_count')}) > 0)"
            },
            "percentunit",
        ),
        Panel(
            "Checks that wait",
            "For a thread, or for others: keys, introspection, the decision point. "
            "server.max_queued and server.max_waiting bound them.",
            {"{{waiting_for}}": f"sum by (waiting_for) ({chosen('authz_checks')})"},
        ),
        Panel(
            "Decisions in the cache",
            "Of each server, all workers together.",
            {"{{instance}}": chosen("authz_cache_entries")},
        ),
    ),
}
