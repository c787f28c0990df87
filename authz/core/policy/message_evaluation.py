"""Policy for whole messages: unknown methods, arguments that rules read, batches of calls."""

from collections.abc import Iterable, Sequence

from authz.core.decision import Effect, Permit, Shadow, ShadowBy, Verdict
from authz.core.policy.budget import joined
from authz.core.policy.call_settings import KEYS, KINDS, listed_targets
from authz.core.policy.name_patterns import NamePatterns, UriPatterns
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import Rule
from authz.core.policy.shadow import PolicyStep
from authz.core.reason import Denied, Reason
from authz.core.request import Call, CallKind, Operation


class MethodIndex:
    """The methods that any rule of a policy lists, and the calls whose arguments any rule reads.

    The rules' lists are merged, so that a look-up costs the same however many rules there are:
    message readers call it before the caller is known.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Index all rules of the policy, those in shadow included."""
        known = list(rules)
        self._methods = {
            protocol: _methods(rule for rule in known if rule.protocol == protocol)
            for protocol in KEYS
        }
        reading = [rule for rule in known if rule.reads_arguments]
        self._all_are_read = any(rule.is_of_all for rule in reading)
        self._read_methods = _methods(reading)
        self._read_targets = {kind: _targets(kind, reading) for kind in KINDS}

    def knows(self, operation: Operation) -> bool:
        """Tell whether a call's method is known, or some rule lists it."""
        call = operation.call
        return call is None or call.is_known or self._methods[operation.protocol].fits(call.method)

    def reads_arguments(self, call: Call) -> bool:
        """Tell whether a rule that could fit a call reads its arguments.

        An allow without a protocol never fits a call, a deny without a protocol fits all calls. The
        answer errs on the wide side: it may be True for a call that only fits another rule's list.
        """
        if self._all_are_read or self._read_methods.fits(call.method):
            return True
        targets = self._read_targets.get(call.kind)
        return targets is not None and targets.fits(call.name)


def _methods(rules: Iterable[Rule]) -> NamePatterns:
    return NamePatterns(text for rule in rules if rule.calls for text in rule.calls.methods.texts)


def _targets(kind: CallKind, rules: Iterable[Rule]) -> NamePatterns | UriPatterns:
    """Return the targets of a kind that rules name; URIs match as widely as in a deny."""
    texts = [text for rule in rules for text in listed_targets(rule.settings.calls, kind)]
    return (
        UriPatterns(texts, is_deny=True)
        if kind is CallKind.RESOURCE and texts
        else NamePatterns(texts)
    )


def evaluate_all(policy: PolicyStep, queries: Sequence[PolicyQuery]) -> Verdict:
    """Return the verdict on a message: every one of its calls must be allowed.

    Raises Denied as ``evaluate`` does.
    """
    if len(queries) == 1:
        return policy.evaluate(queries[0])
    verdicts = [policy.evaluate(query) for query in queries]
    return Verdict(
        _all_granted([verdict.outcome for verdict in verdicts]),
        _shadows(verdicts),
        min(verdict.stable_until for verdict in verdicts),
    )


def _all_granted(outcomes: list[Permit | Denied]) -> Permit | Denied:
    """Return a permit for all calls, or the first refusal."""
    grants: list[Permit] = []
    for outcome in outcomes:
        if isinstance(outcome, Denied):
            return outcome
        grants.append(outcome)
    uses = [use for grant in grants for use in grant.single_uses]
    if len({use.key for use in uses}) < len(uses):
        detail = "the batch makes several calls with a single approval"
        approvals = uses[0].approvals
        return Denied(Reason.APPROVAL_REQUIRED, detail, approvals=approvals)
    headers = {grant.headers for grant in grants}
    if len(headers) > 1:
        detail = "the calls of the batch are allowed with different headers"
        return Denied(Reason.POLICY_DENIED, detail)
    return Permit(
        _joined(grant.agent_rule for grant in grants),
        _joined(grant.principal_rule for grant in grants),
        headers.pop(),
        joined(spending for grant in grants for spending in grant.spendings),
        tuple(uses),
    )


def _joined(names: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(filter(None, names)))


def _shadows(verdicts: list[Verdict]) -> tuple[Shadow, ...]:
    """Return notes on shadow policies that would have decided differently on the whole message."""
    is_granted = all(isinstance(verdict.outcome, Permit) for verdict in verdicts)
    found = []
    for by in dict.fromkeys(note.by for verdict in verdicts for note in verdict.shadows):
        notes = [_note(verdict, by) for verdict in verdicts]
        allows = all(
            isinstance(verdict.outcome, Permit) if note is None else note.decision is Effect.ALLOW
            for verdict, note in zip(verdicts, notes, strict=True)
        )
        effect = Effect.ALLOW if allows else Effect.DENY
        said = [note for note in notes if note and note.decision is effect]
        if allows == is_granted or not said:
            continue
        first = said[0]
        rule = _joined(note.rule for note in said) if allows else first.rule
        found.append(Shadow(by, first.decision, first.reason, rule))
    return tuple(found)


def _note(verdict: Verdict, by: ShadowBy) -> Shadow | None:
    return next((note for note in verdict.shadows if note.by is by), None)
