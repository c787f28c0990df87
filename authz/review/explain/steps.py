"""Describes the steps of a decision and its answer, in lines for a person."""

from authz.config import Config
from authz.core.decision import Allow, Decision, Delegation, Spending
from authz.core.policy.budget_settings import MILLIONTHS
from authz.core.policy.call_matchers import describe_call
from authz.core.reason import Denied
from authz.core.request import Operation, Request
from authz.core.upstream_token import UpstreamToken
from authz.review.explain.questions import ExplainedRequest


def describe_steps(asked: ExplainedRequest, agent: str, delegation: Delegation | None) -> list[str]:
    """Return lines on the results of steps 0 to 2, as far as these ran."""
    request = asked.request
    lines = [f"request     {request.method} {request.host}{request.path}", _operation(request)]
    lines += [
        f"            {request.protocol} message: {describe_call(call)}" for call in request.calls
    ]
    if agent:
        lines.append(f"1 agent     {agent}")
    if delegation:
        origin = "by its SVID alone" if delegation.by_svid else asked.origin
        lines.append(f"2 acts for  {delegation.subject} of {delegation.issuer} ({origin})")
        lines.append(f"            mode: {delegation.mode}")
        lines.append(f"            scopes: {' '.join(sorted(delegation.scopes)) or 'none'}")
    return lines


def describe_answer(decision: Decision) -> list[str]:
    """Return lines on the decision, and on what it still depends on."""
    lines = [
        f"            {shadow.by} in shadow: {shadow.decision} {shadow.rule or shadow.reason}"
        for shadow in decision.shadows
    ]
    if isinstance(decision, Allow):
        grant = decision.permit
        own = "by its own rules alone" if decision.delegation.by_svid else "by nobody yet"
        principal = f"by {grant.principal_rule}" if grant.principal_rule else own
        by = f"agent by {grant.agent_rule}, principal {principal}"
        by = by if grant.agent_rule else "by no rule: shadow: true allows what the rules refuse"
        lines.append(f"            {by}")
        lines += [f"            {_condition(spending)}" for spending in grant.spendings]
        if grant.single_uses:
            lines.append("            by an approval, which it uses up")
        lines += [f"            the upstream gets {what}" for what in _upstream(decision)]
        return [*lines, "ALLOW"]
    lines.append(
        f"DENY        {decision.reason.code}: {decision.detail or decision.reason.message}"
    )
    lines.append(f"            the client sees {decision.reason.http_status}")
    lines.extend(f"            {name} needed: {value}" for name, value in decision.parameters)
    lines.extend(
        f"            approval needed: {asked.element.decode()}" for asked in decision.approvals
    )
    return lines


def _upstream(allow: Allow) -> list[str]:
    """Return what the upstream gets in a header of its own; nothing if it gets no token."""
    upstream = allow.upstream
    scopes = " ".join(sorted(upstream.narrowed(allow.delegation.scopes))) or "none"
    match upstream.gets:
        case UpstreamToken.ASSERT:
            return [f"an assertion for {upstream.audience}, with the scopes: {scopes}"]
        case UpstreamToken.EXCHANGE:
            target = " ".join(filter(None, (upstream.audience, upstream.resource)))
            by = f"if {upstream.issuer} exchanges the client's"
            if not upstream.narrowed(allow.delegation.scopes) and upstream.scopes is not None:
                asked = " ".join(sorted(upstream.scopes))
                why = f"the client's has none of the scopes {asked}"
                return [f"nothing, as {why}: the server refuses by exchange_refused"]
            return [f"a token for {target}, {by}, with the scopes: {scopes}"]
        case UpstreamToken.FORWARD if allow.delegation.has_token:
            return ["the client's token"]
        case _:
            return []


def describe_unseen(config: Config, decision: Decision) -> list[str]:
    """Return lines on what an allow depends on that was not looked at: only servers ask the store.

    Marks and budgets are not spent, and the store may be one that only servers reach.
    """
    if not isinstance(decision, Allow):
        return []
    unseen = []
    if config.store is not None:
        unseen.append("what is revoked in the store (authz revocations lists it)")
    if decision.delegation.single_uses:
        unseen.append("whether the proof or the token was used before")
    if decision.permit.single_uses:
        unseen.append("whether the approval was used before")
    return [f"            not looked at: {what}" for what in unseen]


def _condition(spending: Spending) -> str:
    cost = spending.cost / MILLIONTHS
    return f"if the budget of {spending.rule} has room for {cost:g}"


def _operation(request: Request) -> str:
    try:
        operation = Operation.of(request)
    except Denied as denied:
        return f"0 operation none: {denied.detail}"
    return f"0 operation {operation.method} {operation.host} /{'/'.join(operation.path)}"
