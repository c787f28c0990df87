"""Checks that the tokens of some issuer can hold the approvals that rules ask for, and no others.

Works on the data as written, as ``reference_checks`` does, so that all problems come in one list.
"""

from collections.abc import Iterator
from typing import Any, Final

from authz.config.nearest import nearest_or_all
from authz.config.yaml_document import Place
from authz.core.approval import DETAILS

Found = Iterator[tuple[Place, str]]
_UNCHECKED: Final = (
    f"{DETAILS} unchecked could approve calls, as rules ask for approval: name the types that this"
    " issuer has principals approve in approval_types"
)


def approval_problems(data: dict[str, Any]) -> Found:
    """Yield types of approvals that no issuer has, and issuers whose details nobody checks."""
    asked = list(_asked(data))
    if not asked:
        return
    known = set[str]()
    for at, issuer in _issuers(data):
        known.update(_texts(issuer.get("approval_types")))
        if DETAILS in _texts(issuer.get("accept_unchecked")):
            yield ("issuers", at, "accept_unchecked"), _UNCHECKED
    for place, name in asked:
        if name not in known:
            near = nearest_or_all(name, known, "known") if known else ""
            yield place, f"no issuer has it in approval_types, so no call can be approved{near}"


def _asked(data: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield the type of each rule's approval."""
    grants = data.get("grants")
    for name, rules in (grants if isinstance(grants, dict) else {}).items():
        for at, rule in enumerate(rules if isinstance(rules, tuple) else ()):
            approval = rule.get("approval") if isinstance(rule, dict) else None
            named = approval.get("type") if isinstance(approval, dict) else None
            if isinstance(named, str):
                yield ("grants", name, at, "approval", "type"), named


def _issuers(data: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    listed = data.get("issuers")
    for at, issuer in enumerate(listed if isinstance(listed, tuple) else ()):
        if isinstance(issuer, dict):
            yield at, issuer


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, tuple) else []
