"""Make the page of all reasons, with what the client gets."""

from typing import Final

from authz.core.reason import Reason
from generating.marks import MADE, anchored

HEAD: Final = """\
A refusal has one reason, which stands in the `x-authz-reason` header, the body, the
metric's label, the audit record and the dynamic metadata. The client learns
nothing more; `detail` in the audit record tells operators the rest. Of a token
that is refused, `authz token check` tells [all that is wrong](../howto/refused-token.md).

Each code can be linked to: [reasons.md#policy_denied](#policy_denied).

| reason | HTTP | challenge | words |
|---|---|---|---|
"""


def reasons_page() -> str:
    """Return the page."""
    return f"# Reasons\n\n{MADE}{HEAD}{''.join(_row(reason) for reason in Reason)}"


def _row(reason: Reason) -> str:
    error = {None: "", "": "`Bearer`"}.get(reason.error, f'`Bearer error="{reason.error}"`')
    code = anchored(reason.code, reason.code)
    return f"| {code} | {reason.http_status} | {error} | {reason.message} |\n"
