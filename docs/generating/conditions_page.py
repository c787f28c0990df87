"""Make the page of conditions: their variables, and their bounds."""

from typing import Final

from authz.core.conditions import VARIABLES
from authz.core.conditions.cel import OFFERED
from authz.core.conditions.condition import MAX_TEXT_BYTES
from authz.core.conditions.cost import (
    MAX_LOOP_PARTS,
    MAX_LOOP_PATTERN_CHARS,
    MAX_NESTED_LOOPS,
    MAX_PATTERN_CHARS,
    MAX_REPETITIONS,
)
from authz.core.conditions.facts import WITHHELD_HEADERS
from authz.core.conditions.variables import LONG
from authz.core.strict_json import MAX_DEPTH
from generating.marks import MADE

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
    """Return the page."""
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
