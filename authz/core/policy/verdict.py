"""Reaches the verdict on an operation, from the few rules about it that agent and principal hold.

Denies come first, then an allow of each side. A refusal names the nearest rule. The challenge tells
the client what another token would satisfy; only operators learn the rest.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

import msgspec

from authz.core.approval_request import ApprovalRequest
from authz.core.decision import (
    Delegation,
    Effect,
    Permit,
    Shadow,
    ShadowBy,
    Spending,
    Verdict,
)
from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.rules import UNRESTRICTED, Rule
from authz.core.policy.side import SideResult, evaluate_side, fitting_denies
from authz.core.reason import Denied, Reason
from authz.core.single_use import SingleUse

# What a refusal tells first. An approval is asked for last: people are only asked for what nothing
# else refuses.
_ORDER: Final = (Reason.POLICY_DENIED, Reason.SCOPE, Reason.STEP_UP, Reason.APPROVAL_REQUIRED)
Outcome = Permit | Denied
Rules = Sequence[Rule]


def reach_verdict(of_agent: Rules, of_principal: Rules | None, query: PolicyQuery) -> Verdict:
    """Return the verdict by the rules of both sides; ``of_principal`` is None without a principal.

    Without a token only the agent's rules allow, and the principal's denies deny.

    Rules in shadow do not count: if they would have changed the outcome, a note says so.
    """
    considered = (*of_agent, *of_principal) if of_principal else of_agent
    if all(rule.is_plain for rule in considered):  # as nearly always
        return Verdict(_allowed(of_agent, of_principal, query))
    stable_until = min([rule.stable_until(query) for rule in considered if rule.timed], default=inf)
    if not any(rule.is_shadow for rule in considered):
        return Verdict(_outcome(of_agent, of_principal, query), (), stable_until)
    live_of_principal = None if of_principal is None else _live(of_principal)
    outcome = _outcome(_live(of_agent), live_of_principal, query)
    shadows = shadow_notes(ShadowBy.RULE, outcome, _outcome(of_agent, of_principal, query))
    return Verdict(outcome, shadows, stable_until)


def _live(rules: Rules) -> list[Rule]:
    return [rule for rule in rules if not rule.is_shadow]


def shadow_notes(by: ShadowBy, outcome: Outcome, other: Outcome) -> tuple[Shadow, ...]:
    """Return a note on another policy's outcome; empty if it decides the same."""
    if isinstance(outcome, Permit) == isinstance(other, Permit):
        return ()
    if isinstance(other, Permit):
        return (Shadow(by, Effect.ALLOW, rule=other.agent_rule),)
    return (Shadow(by, Effect.DENY, other.reason.code, other.rule),)


def _outcome(of_agent: Rules, of_principal: Rules | None, query: PolicyQuery) -> Outcome:
    """Return the decision of these rules: a permit, or a refusal."""
    for rule in fitting_denies([*of_agent, *(of_principal or ())], query):
        return Denied(Reason.POLICY_DENIED, f"{rule.name} denies it", rule=rule.name)
    return _allowed(of_agent, of_principal, query)


def _allowed(of_agent: Rules, of_principal: Rules | None, query: PolicyQuery) -> Outcome:
    """Return the decision of the allows alone."""
    agent = evaluate_side(of_agent, query)
    if of_principal is None or not query.delegation.has_token:
        return _without_token(agent, query)
    principal = evaluate_side(of_principal, query)
    if agent.rule is None or principal.rule is None:
        return _nothing(agent, principal)
    if not agent.is_allowed or not principal.is_allowed:
        return _missed(agent, principal, query)
    return _grant(agent.rule, principal.rule, query)


def _grant(of_agent: Rule, of_principal: Rule, query: PolicyQuery) -> Outcome:
    if of_agent is of_principal is UNRESTRICTED:
        return Denied(Reason.POLICY_DENIED, "both sides are unrestricted, so no rule allows it")
    try:
        headers = _headers((of_principal, of_agent), query.delegation)
    except Denied as denied:
        return denied
    if not (of_agent.takes_something or of_principal.takes_something):  # as nearly always
        return Permit(of_agent.name, of_principal.name, headers)
    rules = of_agent, of_principal
    return Permit(
        of_agent.name, of_principal.name, headers, _spendings(rules, query), _uses(rules, query)
    )


def _uses(rules: tuple[Rule, ...], query: PolicyQuery) -> tuple[SingleUse, ...]:
    """Return the approvals that the rules use up, each once, as the same may meet both."""
    found = [rule.approved.use(query) for rule in rules if rule.approved is not None]
    uses = {use.key: use for use in found if use is not None}
    if not uses:
        return ()
    asked = _approvals(rules, query)
    return tuple(msgspec.structs.replace(use, approvals=asked) for use in uses.values())


def _approvals(rules: Iterable[Rule], query: PolicyQuery) -> tuple[ApprovalRequest, ...]:
    """Return all the approvals that a token must have for these rules, with those that it has."""
    found = [rule.approved.request(query) for rule in rules if rule.approved is not None]
    return tuple({asked.element: asked for asked in found if asked is not None}.values())


def _spendings(rules: tuple[Rule, ...], query: PolicyQuery) -> tuple[Spending, ...]:
    """Return what the rules' budgets are spent by; a rule that both sides hold is spent once."""
    budgets = [rule.budget for rule in dict.fromkeys(rules) if rule.budget is not None]
    found = [budget.spending(query) for budget in budgets]
    return tuple([spending for spending in found if spending is not None])


def _nothing(agent: SideResult, principal: SideResult) -> Denied:
    who = "agent" if agent.rule is None else "principal"
    nearest = agent.rule or principal.rule
    return Denied(
        Reason.POLICY_DENIED,
        f"no rule of the {who} allows the operation",
        rule=nearest.name if nearest else "",
    )


def _without_token(agent: SideResult, query: PolicyQuery) -> Denied | Permit:
    """Return the permit for an agent without a token: by a rule of its own without scopes.

    The challenge has no error code (RFC 6750 section 3.1): there was no token to be wrong. It names
    the scopes of a token that would do.
    """
    if agent.rule is None or agent.rule is UNRESTRICTED:
        return Denied(Reason.POLICY_DENIED, "no rule of the agent allows the operation")
    if agent.is_allowed:
        return Permit(agent.rule.name, "", (), _spendings((agent.rule,), query))
    if all(missing.reason is Reason.POLICY_DENIED for missing in agent.unmet):
        return _denied(agent, agent.unmet)
    lacking = _denied(agent, agent.unmet)
    detail = f"no token was sent; {lacking.detail}"
    scopes = _scopes_of(agent)
    return Denied(Reason.TOKEN_MISSING, detail, parameters=scopes, rule=lacking.rule)


def _scopes_of(*sides: SideResult) -> tuple[tuple[str, str], ...]:
    """Return the auth-param that names every scope that the request needs (RFC 6750 section 3)."""
    scopes = {scope for side in sides if side.rule for scope in side.rule.scopes}
    return (("scope", " ".join(sorted(scopes))),) if scopes else ()


def _missed(agent: SideResult, principal: SideResult, query: PolicyQuery) -> Denied:
    """Return the refusal by the nearest rules.

    It names the requirements that another token would satisfy.
    """
    unmet = [*agent.unmet, *principal.unmet]
    for reason in _ORDER:
        of_reason = tuple(missing for missing in unmet if missing.reason is reason)
        if of_reason:
            break
    side = agent if set(of_reason) & set(agent.unmet) else principal
    if reason is Reason.APPROVAL_REQUIRED:
        denied = _denied(side, of_reason)
        denied.approvals = _approvals(
            [each.rule for each in (agent, principal) if each.rule], query
        )
        return denied
    if reason is not Reason.SCOPE:
        return _denied(side, of_reason)
    return _denied(side, of_reason, _scopes_of(agent, principal))


def _denied(
    side: SideResult,
    unmet: tuple[UnmetRequirement, ...],
    parameters: tuple[tuple[str, str], ...] = (),
) -> Denied:
    name = side.rule.name if side.rule else ""
    detail = f"{name}: {'; '.join(dict.fromkeys(missing.text for missing in unmet))}"
    parameters = parameters or unmet[0].parameters
    return Denied(unmet[0].reason, detail, parameters=parameters, rule=name)


def _headers(
    rules: tuple[Rule, ...], delegation: Delegation
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the headers that the rules give to the upstream; the last rule counts for each.

    Raises Denied(TOKEN_CLAIM).
    """
    found: dict[str, tuple[str, ...]] = {}
    for rule in rules:
        found.update(rule.added_headers.values(delegation.claims))
    return tuple(found.items())
