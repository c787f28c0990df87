"""Write the reference pages from the code, or compare them with it (``--check``)."""

import argparse
import ast
import inspect
import json
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from generating.man_page import man_page

from authz.adapters.audit import AuditOperation, AuditRecord
from authz.adapters.metrics import BUCKETS_SECONDS, FAMILIES
from authz.cli.parser import help_texts
from authz.config import schema
from authz.core.conditions import MAX_TEXT_BYTES, VARIABLES
from authz.core.conditions.cel import OFFERED
from authz.core.conditions.cost import (
    MAX_LOOP_PARTS,
    MAX_LOOP_PATTERN_CHARS,
    MAX_NESTED_LOOPS,
    MAX_PATTERN_CHARS,
    MAX_REPETITIONS,
)
from authz.core.conditions.facts import WITHHELD_HEADERS
from authz.core.conditions.variables import LONG
from authz.core.reason import Reason
from authz.core.strict_json import MAX_DEPTH

HERE: Final = Path(__file__).parent
MADE: Final = "<!-- Made by docs/generate.py: change the code, then run `make generate`. -->\n\n"
COMPLETED: Final = {
    "time": "The time at which the check was answered, RFC 3339 in UTC.",
    "request_id": "The request's `x-request-id`, 128 characters at most; clients may choose it.",
    "trace_id": "The trace id of the request's `traceparent`.",
    "decision_id": "Also in the answer, the metadata and `x-agent-decision-id`.",
    "cache": "`hit` when the decision was remembered.",
    "duration_us": "From the check's bytes to its answer, in microseconds.",
}


def config_page() -> str:
    """Every key of the config."""
    document = schema()
    lines = ["# Config\n\n" + MADE, "Durations are a whole number and a unit: `250ms`, `30s`, "]
    lines.append("`5m`, `1h`, `1d`.\nUnknown and doubled keys, anchors and tags are errors.\n")
    lines.append(
        "Relative paths start at the working directory, those of `include` at the config's"
    )
    lines.append(" folder.\n")
    lines.append("An invalid config is never loaded: `authz check` lists every error.\n\n")
    _section(document, document, "", lines)
    return "".join(lines)


def _section(root: dict[str, Any], node: dict[str, Any], place: str, lines: list[str]) -> None:
    required = set(node.get("required", []))
    if place:
        lines.append(f"## `{place}`\n\n{node.get('description', '').strip()}\n\n")
    lines.append("| key | type | default | meaning |\n|---|---|---|---|\n")
    inner: list[tuple[str, dict[str, Any]]] = []
    for name, member in node["properties"].items():
        kind, target, suffix = _kind(root, member)
        default = "**required**" if name in required else _default(member, kind)
        meaning = member.get("description") or (target or {}).get("description", "")
        text = " ".join(str(meaning).split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {default} | {text} |\n")
        if target is not None:
            inner.append((f"{place}.{name}".strip(".") + suffix, target))
    lines.append("\n")
    for path, target in inner:
        _section(root, target, path, lines)


def _default(member: dict[str, Any], kind: str) -> str:
    value = member.get("default")
    if isinstance(value, dict):
        return "see below"
    if value is None or value == []:
        return ""
    if kind == "duration":
        return f"`{value:g}s`"
    return f"`{json.dumps(value)}`"


def _kind(root: dict[str, Any], member: dict[str, Any]) -> tuple[str, dict[str, Any] | None, str]:
    """A member's type in words, the section it leads to, and how its place is written."""
    if "$ref" in member:
        return "section", root["$defs"][member["$ref"].rpartition("/")[2]], ""
    if "anyOf" in member:
        given = next(one for one in member["anyOf"] if one.get("type") != "null")
        return _kind(root, given)
    if "enum" in member:
        return " or ".join(f"`{value}`" for value in member["enum"]), None, ""
    if member.get("type") == "array":
        kind, target, suffix = _kind(root, member["items"])
        return f"list of {kind}", target, "[]" + suffix
    if member.get("type") == "object":
        patterns = list(member.get("patternProperties", {}).values())
        values = patterns[0] if patterns else member.get("additionalProperties", {})
        kind, target, suffix = (
            _kind(root, values) if isinstance(values, dict) else ("any", None, "")
        )
        return f"names to {kind}", target, ".NAME" + suffix
    pattern = member.get("pattern", "")
    return ("duration" if "ms|s|m" in pattern else str(member.get("type", "text"))), None, ""


def reasons_page() -> str:
    """Every reason, with what the client gets."""
    lines = ["# Reasons\n\n" + MADE]
    lines.append(
        "A refusal has one reason, which stands in the `x-authz-reason` header, the body, the\n"
    )
    lines.append("metric's label, the audit record and the dynamic metadata. The client learns\n")
    lines.append(
        "nothing more; `detail` in the audit record tells operators the rest. Of a token\n"
    )
    lines.append("that is refused, `authz token check` tells [all that is wrong](../howto/")
    lines.append("refused-token.md).\n\n")
    lines.append("| reason | HTTP | challenge | words |\n|---|---|---|---|\n")
    for reason in Reason:
        error = {None: "", "": "`Bearer`"}.get(reason.error, f'`Bearer error="{reason.error}"`')
        lines.append(f"| `{reason.code}` | {reason.http_status} | {error} | {reason.message} |\n")
    return "".join(lines)


def metrics_page() -> str:
    """Every metric family."""
    lines = [
        "# Metrics\n\n" + MADE,
        "At `/metrics` of the admin address. Labels come from closed\n",
    ]
    lines.append("sets: a client can't add a series. Counters end in `_total`.\n\n")
    lines.append("| family | type | labels | meaning |\n|---|---|---|---|\n")
    for name, (kind, labels, text) in FAMILIES.items():
        lines.append(f"| `{name}` | {kind} | {', '.join(labels)} | {text} |\n")
    buckets = ", ".join(f"{bound:g}" for bound in BUCKETS_SECONDS)
    lines.append(f"\nBuckets of the histogram, in seconds: {buckets}.\n")
    return "".join(lines)


def audit_page() -> str:
    """Every field of an audit record."""
    lines = ["# Audit record\n\n" + MADE, f"{AuditRecord.__doc__}\n\n"]
    lines.append("One JSON object a line. The token and the query are not in it.\n\n")
    lines.append("| field | meaning |\n|---|---|\n")
    for texts in (_field_texts(AuditRecord), _field_texts(AuditOperation), COMPLETED):
        lines.extend(f"| `{name}` | {text} |\n" for name, text in texts.items())
    return "".join(lines)


def _field_texts(of: type) -> dict[str, str]:
    """The docstring below each field of a class."""
    body = ast.parse(inspect.getsource(of)).body[0].body  # type: ignore[attr-defined]
    texts = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                texts[name] = " ".join(text.split())
    return texts


def cli_page() -> str:
    """The help of every verb."""
    os.environ["COLUMNS"] = "80"
    os.environ.pop("AUTHZ_CONFIG", None)
    os.environ.pop("AUTHZ_LOG_LEVEL", None)
    lines = ["# The command `authz`\n\n" + MADE, "[What `--json` prints](json.md).\n\n"]
    for name, text in help_texts():
        lines.append(f"## `{name}`\n\n```text\n{text}```\n\n")
    return "".join(lines).rstrip("\n") + "\n"


KINDS: Final = {
    "list<string>": "list of strings",
    "map<string, dyn>": "map of names to anything",
    "map<string, string>": "map of names to strings",
}
CONDITIONS: Final = """\
A condition is a [CEL](https://cel.dev) expression that is true or false, for rules that lists can't
express. It needs [the extra `cel`](../explanation/dependencies.md#extras).

```cel
"team-blue" in claims.groups && request.segments[0] == "blue"
```

```cel
delegation.depth == 1 && agent.path[1] == "agents" && request.segments == ["users", principal.id]
```

```cel
has(claims.authorization_details) && claims.authorization_details.exists(d,
    d.type == "orders" && d.actions.exists(a, a == "write"))
```

```cel
operation.arguments.amount <= 500 && operation.arguments.currency in ["EUR", "USD"]
```

```cel
request.headers["x-tenant"] in ["blue", "red"] && claims.email.matches("@corp[.]example$")
```

## True, false, or neither

A condition whose evaluation fails has no value: for example because a claim is missing or has
another type, a list is too short, or a number is divided by zero. Then an allow with that
condition does not allow, and a deny denies. `has(claims.level) && claims.level > 2` tests for the
claim first.

- `&&` and `||` ignore a failure that makes no difference: `claims.absent || true` is true, and
  `claims.absent && false` is false, from either side. Never write `|| true` beside a claim that
  must be there.
- Claims and arguments have whatever type they are sent with. One that is compared (`==`, `!=`,
  `in`, in a loop too) with a value of another type leaves the condition without a value:
  `claims.level == "3"` where `level` is the number 3, `"staff" in claims.groups` where a group is
  an object. The same holds for each branch of `? :`, each side of a `+`, each element that an
  index may mean; not `claims[x]` with a computed name. In an object, `in` and loops go over the
  names; there is no value if the text in question is not a name but a value in the object, as in
  `{"value": "staff"}`. A value whose `type` the condition tests is not checked; a value that it
  compares with null may be null.
- A claim that the token says is elsewhere (`_claim_names`, Entra's `hasgroups`) leaves each
  condition that reads it without a value, `has(claims.groups)` too.
- Claims with a NUL in a text, or a whole number beyond 64 bits, leave every condition without a
  value.

## Variables

Loading the config checks every name and type, and that `conditions` lists each claim and header
that the condition reads by name. Only what is inside a claim can't be checked then.

"""

CONDITIONS_END: Final = """
There is no variable for the time, so that a remembered decision stays right, and none for token,
signature or certificate. `request.headers` never holds: {credentials}.

`operation` is the call of a message on a route with a protocol; in a batch each call is evaluated
by itself. `operation.arguments` have a value if the whole body was read and CEL can hold it as it
is: no NUL in a text, no whole number beyond 64 bits, {levels} levels at most. Otherwise no
condition has a value for that call, not even `!has(operation.arguments.limit)`.

## Operators, functions and limits

The operators of CEL, and {offered}. `matches` takes RE2 patterns and searches for them anywhere:
`^` and `$` anchor them to the whole text.

- {text} bytes at most, and 32 levels of nesting.
- `all`, `exists` and `exists_one` may be nested {loops} deep at most. Inside them `+` is not
  allowed, nor are these variables, for which `x in list` needs no loop: {long}. An inner loop can
  use its own element, not the outer loop's. A loop runs over an existing list, or over a list of
  texts in quotes and short variables. All loops together may have {parts} names, values and
  operators inside.
- The pattern of `matches` must be a text in quotes. All patterns together may have {pattern}
  characters and {repetitions} repetitions by number, each of a single character or class; `\\p`
  is not allowed. In a loop, patterns may test only the element, not in a nested loop, have no
  repetitions by number, and have {looped} characters in all.
- After 10,000 steps of a loop there is no value.
"""


def conditions_page() -> str:
    """Every variable of conditions, and the bounds."""
    lines = [
        "# Conditions\n\n" + MADE + CONDITIONS,
        "| variable | type | meaning |\n|---|---|---|\n",
    ]
    lines.extend(
        f"| `{name}` | {KINDS.get(kind, kind)} | {text} |\n"
        for name, (kind, text) in VARIABLES.items()
    )
    lines.append(
        CONDITIONS_END.format(
            credentials=", ".join(f"`{name}`" for name in sorted(WITHHELD_HEADERS)),
            offered=", ".join(f"`{name}`" for name in OFFERED),
            text=MAX_TEXT_BYTES,
            levels=MAX_DEPTH,
            loops=MAX_NESTED_LOOPS,
            pattern=MAX_PATTERN_CHARS,
            repetitions=MAX_REPETITIONS,
            parts=MAX_LOOP_PARTS,
            looped=MAX_LOOP_PATTERN_CHARS,
            long=", ".join(f"`{name}`" for name in sorted(LONG)),
        )
    )
    return "".join(lines)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/config.md": config_page,
    "reference/reasons.md": reasons_page,
    "reference/metrics.md": metrics_page,
    "reference/audit.md": audit_page,
    "reference/cli.md": cli_page,
    "reference/conditions.md": conditions_page,
    "man/authz.1": man_page,
    "schema.json": lambda: json.dumps(schema(), indent=2) + "\n",
}


def stale() -> list[str]:
    """Pages that are not what the code makes."""
    return [
        name
        for name, make in PAGES.items()
        if not (HERE / name).exists() or (HERE / name).read_text() != make()
    ]


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when they differ")
    if parser.parse_args().check:
        for name in stale():
            print(f"docs/{name} is not what the code makes: run 'make generate'")
        return 1 if stale() else 0
    for name, make in PAGES.items():
        (HERE / name).write_text(make())
    return 0


if __name__ == "__main__":
    sys.exit(main())
