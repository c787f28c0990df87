"""Explains why a request would be allowed or denied, step by step, without sending it.

The real pipeline decides. Without a token, the delegation that the question describes is assumed,
so that policy can be tried before there is an issuer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.introspection import IntrospectionError, Introspections
from authz.adapters.keys.store import KeyStore
from authz.adapters.status_lists import StatusFetchError, StatusLists
from authz.config import Config, load
from authz.config.printable import one_line
from authz.core.authorizer import Authorizer
from authz.core.decision import (
    Agent,
    Allow,
    Decision,
    Delegation,
    Deny,
    Effect,
    Mode,
    Verdict,
)
from authz.core.delegation import MAX_TIMEOUT_SECONDS
from authz.core.delegation.without_token import by_svid
from authz.core.identity import ProfileSettings
from authz.core.identity.settings import DEFAULT
from authz.core.needs import IntrospectionNeeded, StatusListNeeded
from authz.core.policy.budget_settings import MILLIONTHS
from authz.core.policy.call_matchers import describe_call
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.routes import Route, RouteMode
from authz.edge.envoy.reader import read_check
from authz.review.explain.questions import (
    ExplainedRequest,
    Question,
    asked_in_words,
    asked_of_record,
    assumed,
)
from authz.review.explain.recorded import (
    RecordedError,
    RecordedRequest,
    audit_record,
    check_request,
)
from authz.review.explain.rule_report import SHOWN, report_rules
from authz.review.explain.steps import describe_answer, describe_steps, describe_unseen
from authz.wiring.asked import prepare_introspections
from authz.wiring.files import read_revocations
from authz.wiring.policy import build_policy, build_policy_step
from authz.wiring.policy_version import compute_policy_version
from authz.wiring.snapshot import (
    Lookups,
    build_authorizer,
    build_delegations,
    build_inputs,
    build_key_sources,
)

__all__ = [
    "ExplainedRequest",
    "Explanation",
    "Question",
    "RecordedError",
    "RecordedRequest",
    "asked_in_words",
    "asked_of_message",
    "asked_of_record",
    "assumed",
    "audit_record",
    "check_request",
    "explain",
]
KEY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for a person, and the decision.

    None for a record that was refused before policy.
    """

    lines: tuple[str, ...]
    decision: Decision | None = None
    policy_version: str = ""

    @property
    def is_allowed(self) -> bool:
        """Tell whether the request is allowed."""
        return isinstance(self.decision, Allow)

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``, named as in an audit record, and the lines."""
        budgets: dict[str, float] = {}
        told: dict[str, str] = {"decision": Effect.ALLOW if self.is_allowed else Effect.DENY}
        if isinstance(self.decision, Allow):
            grant = self.decision.permit
            told |= {"rule": grant.agent_rule, "principal_rule": grant.principal_rule}
            budgets = {spending.rule: spending.cost / MILLIONTHS for spending in grant.spendings}
        elif self.decision is not None:
            code, rule = self.decision.reason.code, self.decision.rule
            told |= {"reason": code, "detail": self.decision.detail, "rule": rule}
        shadows = self.decision.shadows if self.decision else ()
        asked = self.decision.approvals if isinstance(self.decision, Deny) else ()
        return {
            **told,
            "budgets": budgets,
            "approvals": [msgspec.json.decode(each.element) for each in asked],
            "shadows": [msgspec.structs.asdict(shadow) for shadow in shadows],
            "policy_version": self.policy_version,
            "lines": self.lines,
        }


class _AssumedDelegation:
    """Stands in for step 2: a delegation as the question describes it.

    ``is_bare`` says that the question has no word of a token, which few routes do without.
    """

    def __init__(self, delegation: Delegation, *, is_bare: bool) -> None:
        self._delegation = delegation
        self._is_bare = is_bare or delegation.by_svid

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:  # noqa: ARG002 - as DelegationStep
        """Return the described delegation.

        Raises Denied(PRINCIPAL_REQUIRED, ACTOR_NOT_PERMITTED, TOKEN_MISSING) if the route lacks its
        mode, or needs a token.
        """
        if self._is_bare and route.takes_svid_alone:
            return by_svid(agent)
        if self._delegation.by_svid:
            raise Denied(Reason.TOKEN_MISSING, "the route requires a token")
        mode = self._delegation.mode
        if mode is Mode.AUTONOMOUS and RouteMode.AUTONOMOUS not in route.modes:
            raise Denied(Reason.PRINCIPAL_REQUIRED, "name the principal with --principal")
        if mode in (Mode.ACT, Mode.MAPPED) and RouteMode.DELEGATED not in route.modes:
            detail = "on this route agents act only for themselves"
            raise Denied(Reason.ACTOR_NOT_PERMITTED, detail)
        return self._delegation


class _RecordingPolicy:
    """Step 3, which keeps the cases that the real policy was asked, for the explanation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.cases: list[PolicyQuery] = []

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """Return the policy's flags."""
        return self._policy.flags(delegation)

    def evaluate(self, case: PolicyQuery) -> Verdict:
        """Keep the case, and return the policy's verdict."""
        self.cases.append(case)
        return self._policy.evaluate(case)


def asked_of_message(
    config: Config, message: pb.CheckRequest, now: float | None, default_now: float
) -> ExplainedRequest:
    """Read a CheckRequest as the server does. Raises ConfigError for a candidate.

    The time is ``now``, else the request's own, else ``default_now``.
    """
    candidate = _candidate_policy(config)
    policies = [build_policy(config), *([] if candidate is None else [candidate])]
    inputs = build_inputs(config, policies)
    request = read_check(inputs, message).request
    sent = message.attributes.request.time
    recorded = sent.seconds + sent.nanos / 1e9
    at = now if now is not None else recorded or default_now
    return ExplainedRequest(request, None, at, "by the token", has_proxy=True)


def explain(config: Config, asked: ExplainedRequest, *, shows_all: bool = False) -> Explanation:
    """Decide as the server would, and describe each step.

    Fetches keys if there is a token to verify, and its status list if it names one, and asks its
    issuer about an opaque token.

    Raises BuildError, and ConfigError for an invalid candidate.
    """
    if asked.refused:
        why = "            refused before policy was asked"
        lines = [*asked.notes, *describe_steps(asked, asked.request.principal, asked.delegation)]
        lines += [why, f"DENY        {asked.refused}"]
        return Explanation(tuple(map(one_line, lines)))
    version = compute_policy_version(config)
    if not asked.has_proxy:
        # The question has an ID but no certificate, even if the config's proxies send one.
        config = config.model_copy(update={"profiles": {DEFAULT: _without_proxy(config)}})
    keys = KeyStore(build_key_sources(config))
    delegation = asked.delegation
    # Answers and lists count as given at the time of the question.
    introspections = Introspections(keys, wall=lambda: asked.now)
    introspections.reconfigure(prepare_introspections(introspections, config))
    lists = StatusLists(keys, wall=lambda: asked.now)
    lists.reconfigure(config.issuers)
    delegations = (
        build_delegations(config, Lookups(keys, introspections, lists))
        if delegation is None
        else _AssumedDelegation(delegation, is_bare=asked.is_bare)
    )
    policy = build_policy(config)
    watched = _RecordingPolicy(policy)
    step = build_policy_step(config, watched, _candidate_policy(config))
    authorizer = build_authorizer(config, delegations, read_revocations(config), step)
    try:
        if asked.delegation is None:
            keys.start()
            for issuer in config.issuers:
                keys.refresh(issuer.issuer, "", KEY_SECONDS)
        decision = _decided(authorizer, asked, introspections, lists)
    finally:
        keys.close()
    agent = decision.agent.spiffe_id.text if decision.agent else ""
    told = [*asked.notes, *describe_steps(asked, agent, decision.delegation)]
    for case in watched.cases:
        about = f" on {describe_call(case.operation.call)}" if case.operation.call else ""
        told.append(f"3 policy{about}")
        told += report_rules(policy, case).lines(None if shows_all else SHOWN)
    told += describe_answer(decision)
    told += describe_unseen(config, decision)
    return Explanation(tuple(map(one_line, told)), decision, version)


def _without_proxy(config: Config) -> ProfileSettings:
    """Return the default profile with nothing of it but what the upstream gets."""
    default = config.profiles.get(DEFAULT, ProfileSettings())
    return ProfileSettings(upstream_token=default.upstream_token)


def _decided(
    authorizer: Authorizer,
    asked: ExplainedRequest,
    introspections: Introspections,
    lists: StatusLists,
) -> Decision:
    """Return the decision; an answer about a token, or a list, that is missing is fetched once."""
    decision = authorizer.decide(asked.request, asked.now)
    needs = decision.needs if isinstance(decision, Deny) else None
    if not isinstance(decision, Deny) or needs is None:
        return decision
    try:
        if isinstance(needs, IntrospectionNeeded):
            introspections.ask(needs, MAX_TIMEOUT_SECONDS)
        elif isinstance(needs, StatusListNeeded):
            lists.ask(needs, MAX_TIMEOUT_SECONDS)
        else:  # keys were fetched before
            return decision
    except (IntrospectionError, StatusFetchError) as error:
        return decision.explained(str(error))
    return authorizer.decide(asked.request, asked.now)


def _candidate_policy(config: Config) -> Policy | None:
    """Return the policy of the candidate that a config names, if it does. Raises ConfigError."""
    return None if config.candidate is None else build_policy(load(Path(config.candidate)))
