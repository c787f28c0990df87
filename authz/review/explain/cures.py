"""Finds changes that would allow a refused request: what each side lacks that does not allow it.

A side with a rule about the operation does not meet that rule's requirements. A side without such a
rule lacks a grant. The named grant is preferably the other side's, which is meant for such
requests, else the grant that gives least besides. A grant that would also deny the request is never
named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from authz.core.patterns import ANY
from authz.core.policy import RuleSettings
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.review.explain.sides import Side, SideOutcome, entry_distance, judge, why_not


@dataclass(frozen=True, slots=True)
class Cure:
    """The grant or the requirements that a side lacks.

    Attributes:
        who: "agent" or "principal".
        text: the same in words.
        outcome: the rule that would allow, and its unmet requirements; None if no rule of any grant
            is about the operation.
        grant: the rule's grant, which the side does not hold; "" if it does.
    """

    who: str
    text: str
    outcome: SideOutcome | None = None
    grant: str = ""


def find_cures(policy: Policy, case: PolicyQuery, sides: Sequence[Side]) -> Iterator[Cure]:
    """Yield a cure for each side that does not allow; for a request that nothing denies."""
    call = case.operation.call
    if call is not None and not policy.knows(case.operation):
        why = f"the method {call.method} is not one of the protocol's, and no rule lists it"
        yield Cure("agent", why)
        return
    lacking = [side for side in sides if not side.allows]
    if not lacking:
        yield Cure("principal", "both sides are unrestricted: one of them needs a rule that allows")
    for side in lacking:
        yield from _cures(policy, case, side, [other for other in sides if other is not side])


def _cures(policy: Policy, case: PolicyQuery, side: Side, others: Sequence[Side]) -> Iterator[Cure]:
    aimed = next((one for one in side.allows_held if not one.of_target), None)
    if aimed is not None:
        yield _of_held(side, aimed)
        if aimed.is_near:
            return
    # Without a token there are no scopes, and only the agent's rules allow.
    has_token = case.delegation.has_token
    held = {outcome.rule for other in others for outcome in other.rules if has_token}

    def rank(one: SideOutcome) -> tuple[bool, bool, int, int, int, int, str]:
        hard, count = one.distance
        is_far, width = bool(hard if has_token else count), _width(policy, one)
        return is_far, one.rule not in held, hard, count, *width, one.rule.name

    found = min(_candidates(policy, case), key=rank, default=None)
    if found is not None:
        of_other = f" of the {others[0].who}" if found.rule in held else ""
        yield _of_grant(policy, case, side, found, of_other)
    elif aimed is None:  # a rule with another target: its mismatches show what to write
        far = next(iter(side.allows_held), None)
        nothing = f"no grant has a rule about it, and the {side.who} holds none"
        yield Cure(side.who, nothing) if far is None else _of_held(side, far)


def _width(policy: Policy, outcome: SideOutcome) -> tuple[int, int]:
    """Return how much a rule's grant gives besides: its patterns with wildcards, and all it lists.

    Who follows the cure should not give more than the request takes.
    """
    allows = [rule for rule in policy.rules[_grant_of(outcome)] if not rule.is_deny]
    listed = [text for rule in allows for text in _lists(rule.settings)]
    return sum(ANY in text for text in listed), len(listed)


def _lists(rule: RuleSettings) -> Iterator[str]:
    """Yield the texts of the lists that say what a rule is about."""
    yield from (*rule.hosts, *rule.methods, *rule.paths)
    if rule.calls is not None:
        lists = (getattr(rule.calls, name) for name in type(rule.calls).model_fields)
        yield from (text for listed in lists if isinstance(listed, tuple) for text in listed)


def _grant_of(outcome: SideOutcome) -> str:
    return outcome.rule.name.partition("/")[0]


def _of_held(side: Side, outcome: SideOutcome) -> Cure:
    return Cure(side.who, f"{outcome.rule.name}: {outcome.missing}", outcome)


def _candidates(policy: Policy, case: PolicyQuery) -> Iterator[SideOutcome]:
    """Yield the allows about the operation, of each grant that does not also deny it."""
    for rules in policy.rules.values():
        near = [one for one in (judge(rule, case) for rule in rules) if one.is_near]
        counted = [one for one in near if not one.rule.is_shadow]
        if not any(one.rule.is_deny and not one.misses for one in counted):
            yield from (one for one in counted if not one.rule.is_deny)


def _of_grant(
    policy: Policy, case: PolicyQuery, side: Side, found: SideOutcome, of_other: str
) -> Cure:
    grant = _grant_of(found)
    lacks = f"the {side.who} does not hold grant {grant}"
    if not side.is_known:
        lacks = f"no entry of {side.who}s matches the {side.who}, so it does not hold grant {grant}"
    why = _why_not_held(policy, case, grant) if side.who == "principal" else ""
    missing = f"; and {found.missing}" if found.misses else ""
    text = f"{found.rule.name}{of_other} would allow: {lacks}{why}{missing}"
    return Cure(side.who, text, found, grant)


def _why_not_held(policy: Policy, case: PolicyQuery, grant: str) -> str:
    """Say which entry of principals has a grant, and why it does not count.

    "" if no entry has it.
    """
    entries = [one for one in policy.principals.entries if grant in one.settings.grants]
    if not entries:
        return ""
    nearest = min(entries, key=lambda entry: entry_distance(entry, case))
    return f" ({nearest.title} has it: {why_not(nearest, case)})"
