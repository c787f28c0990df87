"""Make the page that maps the audit record's fields to the names of other standards."""

from collections.abc import Mapping
from typing import Final

from generating.marks import MADE

NONE: Final = "none"
# Field: OCSF, OpenTelemetry, and the field of AIMS; NONE where the standard has no name for it.
Names = tuple[str, str, str]
MAPPING: Final[Mapping[str, Names]] = {
    "decision": ("action_id, actor.authorizations[].decision", NONE, "action and decision"),
    "reason": ("status_code", "error.type", "remediation and cause"),
    "detail": ("status_detail", NONE, "remediation and cause"),
    "agent": ("ai_agent.uid", "gen_ai.agent.id", "agent identifier"),
    "principal": ("actor.user.uid", "user.id (user.hash if hashed)", "delegated subject"),
    "issuer": ("actor.session.issuer", NONE, "delegated subject"),
    "actors": (NONE, NONE, "agent identifier"),
    "mode": (NONE, NONE, "posture and risk"),
    "flags": (NONE, NONE, "posture and risk"),
    "scopes": (NONE, NONE, "delegated subject"),
    "rule": ("actor.authorizations[].policy.name", "security_rule.name", "action and decision"),
    "principal_rule": ("actor.authorizations[].policy.name", NONE, "action and decision"),
    "policy_version": ("actor.authorizations[].policy.version", NONE, "action and decision"),
    "token_id": ("api.token.uid", NONE, "time and correlation"),
    "token_hash": ("actor.session.credential_uid", NONE, "time and correlation"),
    "issued_at": ("api.token.created_time", NONE, "delegated subject"),
    "claims": (NONE, NONE, "posture and risk"),
    "shadows": (NONE, NONE, "posture and risk"),
    "by_policy": (NONE, NONE, "action and decision"),
    "by_svid": (NONE, NONE, "posture and risk"),
    "version": ("metadata.log_version", NONE, NONE),
    "proof": (NONE, NONE, "posture and risk"),
    "status": ("http_response.code", "http.response.status_code", "remediation and cause"),
    "challenge": ("http_response.http_headers", NONE, "remediation and cause"),
    "upstream": (NONE, NONE, "delegated subject"),
    "issuance": (NONE, NONE, "delegated subject"),
    "redacted": (NONE, NONE, NONE),
    "method": ("http_request.http_method", "http.request.method", "action and decision"),
    "host": ("http_request.url.hostname", "server.address, server.port", "resource and tool"),
    "path": ("http_request.url.path", "url.path", "resource and tool"),
    "proxy": (NONE, NONE, "agent identifier"),
    "route": (NONE, NONE, "resource and tool"),
    "headers": ("http_request.http_headers", NONE, NONE),
    "protocol": ("api.service.name", NONE, "resource and tool"),
    "calls": (
        "api.operation, resources[].name",
        "mcp.method.name; of a single call gen_ai.tool.name, or the like of its kind",
        "resource and tool",
    ),
    "time": ("time", "Timestamp of the log record", "time and correlation"),
    "request_id": ("http_request.uid", NONE, "time and correlation"),
    "trace_id": ("trace.uid", "TraceId of the log record", "time and correlation"),
    "decision_id": ("metadata.original_event_uid", NONE, "time and correlation"),
    "cache": (NONE, NONE, NONE),
    "duration_us": ("duration, in milliseconds", NONE, NONE),
    "log": ("attestation_list[].chain_uid", NONE, NONE),
    "index": ("attestation_list[].uid", NONE, NONE),
}
# The seven fields of an audit record in AIMS, section 11.
AIMS: Final = (
    "agent identifier",
    "delegated subject",
    "resource and tool",
    "action and decision",
    "time and correlation",
    "posture and risk",
    "remediation and cause",
)
TEXT: Final = """\
Which names of other standards the [audit record](audit.md)'s fields have, for those who bring
records into a system that speaks one of them. The record keeps its own names: a collector maps
them.

- **OCSF**: the Open Cybersecurity Schema Framework 1.9, class API Activity (`class_uid` 6003), with
  the profiles `ai_operation`, `security_control`, `trace` and `record_integrity`. `action_id` is 1
  for allow, 2 for deny. The line itself belongs into `raw_data`, and the fields without a name into
  `unmapped`.
- **OpenTelemetry**: the semantic conventions 1.44, and those of generative AI (`gen_ai`, `mcp`),
  which have a repository of their own. A log record of a sink `otlp` has these attributes, and the
  line as its body.
- **AIMS**: the audit record of draft-klrc-aiagent-auth section 11 has seven fields. A field of ours
  is a part of one of them.

"""


def audit_mapping_page() -> str:
    """Return the page."""
    lines = ["# Names of the audit record's fields in other standards\n\n" + MADE, TEXT]
    lines.append("| field | OCSF | OpenTelemetry | AIMS |\n|---|---|---|---|\n")
    lines += [
        f"| `{field}` | {_code(ocsf)} | {_code(otel)} | {aims} |\n"
        for field, (ocsf, otel, aims) in MAPPING.items()
    ]
    lines.append(
        "\n## The seven fields of AIMS\n\n| field of AIMS | fields of the record |\n|---|---|\n"
    )
    for wanted in AIMS:
        ours = ", ".join(f"`{field}`" for field, names in MAPPING.items() if names[2] == wanted)
        lines.append(f"| {wanted} | {ours} |\n")
    lines.append(
        "\nAIMS wants records to be durable and tamper-evident, too: `audit.chain` and "
        "`authz audit verify`.\n"
    )
    return "".join(lines)


def _code(names: str) -> str:
    """Return names in the style of code, and words as they are."""
    return " ".join(map(_word, names.split(" ")))


def _word(word: str) -> str:
    bare = word.strip("(,;)")
    is_name = any(sign in bare for sign in "._[") or bare in ("time", "duration")
    return word.replace(bare, f"`{bare}`") if is_name and bare else word
