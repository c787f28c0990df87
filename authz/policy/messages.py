"""Messages and policy: methods that nobody knows, arguments that rules read, batches of calls."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from authz.decision import Grant, Shadow, Verdict
from authz.policy.case import Case
from authz.policy.rules import Rule
from authz.policy.shadow import PolicyStep
from authz.reason import Denied, Reason
from authz.request import Call, Operation

MAX_REMEMBERED: Final = 1024  # answers, of some hundred bytes each


class Messages:
    """What all rules of a policy together say of messages, whoever holds them.

    Attributes:
        reads_arguments: whether any rule that could fit a call reads its arguments, so that they
            have to be a part of the request.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Take all rules, those in shadow too."""
        known = list(rules)
        self._matchers = [(one.protocol, one.calls) for one in known if one.calls is not None]
        self.reads_arguments = _reads_arguments([one for one in known if one.reads_arguments])

    def knows(self, operation: Operation) -> bool:
        """Whether a call's method is known, or some rule lists it."""
        call = operation.call
        if call is None or call.is_known:
            return True
        return any(
            calls.lists(call.method)
            for protocol, calls in self._matchers
            if protocol == operation.protocol
        )


def _reads_arguments(rules: list[Rule]) -> Callable[[Call], bool]:
    """By the rules that read them. An allow without a protocol never fits a call."""
    if any(rule.is_of_all for rule in rules):
        return lambda _: True
    matchers = [rule.calls for rule in rules if rule.calls is not None]
    if not matchers:
        return lambda _: False

    @lru_cache(MAX_REMEMBERED)
    def fits_one(call: Call) -> bool:
        return any(not matcher.miss(call) for matcher in matchers)

    return fits_one


def judge_all(policy: PolicyStep, cases: Sequence[Case]) -> Verdict:
    """The verdict on a message: every one of its calls must be allowed.

    Raises Denied as ``judge`` does.
    """
    if len(cases) == 1:
        return policy.judge(cases[0])
    verdicts = [policy.judge(case) for case in cases]
    return Verdict(
        _all_granted([verdict.outcome for verdict in verdicts]),
        _shadows(verdicts),
        min(verdict.steady_until for verdict in verdicts),
    )


def _all_granted(outcomes: list[Grant | Denied]) -> Grant | Denied:
    """One grant for all, or the first refusal."""
    grants: list[Grant] = []
    for outcome in outcomes:
        if isinstance(outcome, Denied):
            return outcome
        grants.append(outcome)
    headers = {grant.headers for grant in grants}
    if len(headers) > 1:
        detail = "the calls of the batch are allowed with different headers"
        return Denied(Reason.POLICY_DENIED, detail)
    return Grant(
        _joined(grant.agent_rule for grant in grants),
        _joined(grant.principal_rule for grant in grants),
        headers.pop(),
    )


def _joined(names: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(filter(None, names)))


def _shadows(verdicts: list[Verdict]) -> tuple[Shadow, ...]:
    """What the others would have said of the whole message, where it differs."""
    is_granted = all(isinstance(verdict.outcome, Grant) for verdict in verdicts)
    found = []
    for by in dict.fromkeys(note.by for verdict in verdicts for note in verdict.shadows):
        notes = [_note(verdict, by) for verdict in verdicts]
        allows = all(
            isinstance(verdict.outcome, Grant) if note is None else note.decision == "allow"
            for verdict, note in zip(verdicts, notes, strict=True)
        )
        said = [note for note in notes if note and note.decision == ("allow" if allows else "deny")]
        if allows == is_granted or not said:
            continue
        first = said[0]
        rule = _joined(note.rule for note in said) if allows else first.rule
        found.append(Shadow(by, first.decision, first.reason, rule))
    return tuple(found)


def _note(verdict: Verdict, by: str) -> Shadow | None:
    return next((one for one in verdict.shadows if one.by == by), None)
