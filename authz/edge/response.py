"""What a proxy is told of a decision, in no dialect's form. A dialect's writer encodes it.

So which headers an upstream gets, what a refusal says, and what a proxy may log have one home.
A response is remembered with its decision, and the id of a decision is new each time: ``ID_PLACE``
stands wherever it goes.
"""

import secrets
from typing import Final

import msgspec

from authz.core.decision import Allow, Decision, Deny, Effect
from authz.core.reason import Reason
from authz.core.request import MessageProtocol
from authz.edge.challenge import challenge_for
from authz.edge.identity_headers import HeaderSettings, IdentityHeaders
from authz.edge.refusal import NO_BODY, Body, build_body

# As long as an id, so that lengths around it stay right, and random, so that no client can write it
# into a claim and have its own text cut.
ID_PLACE: Final = secrets.token_hex(16)
_OK: Final = 200  # of HTTP: what refuses is the dialect's own status
_METADATA: Final = (
    *("decision", "reason", "decision_id", "agent", "principal", "issuer", "chain"),
    *("rule", "policy_version", "shadow"),
)


class Response(msgspec.Struct, frozen=True, gc=False):
    """A decision as it is told, with ``ID_PLACE`` for its id.

    Attributes:
        reason: of a refusal; None for an allow.
        headers: (name, value) to set, in the upstream's request or the client's answer.
        described: what the proxy may log, by the names of ``metadata``.
        removed: names of headers to take from the upstream's request.
        status: of HTTP, for the client; 200 also where the message alone tells of a refusal.
        body: of a refusal.
    """

    reason: Reason | None
    headers: tuple[tuple[str, str], ...]
    described: tuple[str, ...]
    removed: tuple[str, ...] = ()
    status: int = _OK
    body: Body = NO_BODY

    @property
    def metadata(self) -> dict[str, str]:
        """What the proxy may log, by name."""
        return dict(zip(_METADATA, self.described, strict=True))

    @property
    def chars(self) -> int:
        """Characters of all texts, shared ones too."""
        texts = map("".join, self.headers)
        body = self.body
        of_body = len(body.text) + len(body.error) + len(body.message)
        return sum(map(len, (*texts, *self.removed, *self.described))) + of_body


class Responder:
    """Makes the responses of one version of the settings."""

    def __init__(
        self,
        headers: HeaderSettings,
        stripped: tuple[str, ...],
        dpop_algorithms: tuple[str, ...],
        added: tuple[str, ...] = (),
    ) -> None:
        """Take the settings, and of the token's the headers to strip and what DPoP proofs may be.

        ``stripped`` names headers that the upstream must not see; ``dpop_algorithms`` are what
        challenges offer; ``added`` are the names of all headers that rules may add.
        """
        self._identity = IdentityHeaders(headers, stripped, added)
        self._algs = " ".join(dpop_algorithms)

    def respond(
        self, decision: Decision, policy_version: str, protocol: MessageProtocol
    ) -> Response:
        """Return the response to a request, on a route of this protocol."""
        described = _described(decision, policy_version)
        if isinstance(decision, Allow):
            headers, removed = self._identity.of(decision, ID_PLACE)
            return Response(None, headers, described, removed)
        body = build_body(decision, protocol, ID_PLACE)
        status = _OK if decision.by_message else decision.reason.http_status
        headers = self._refusal_headers(decision, body)
        return Response(decision.reason, headers, described, (), status, body)

    def _refusal_headers(self, deny: Deny, body: Body) -> tuple[tuple[str, str], ...]:
        headers = (
            ("content-type", body.content_type),
            ("cache-control", "no-store"),
            ("x-authz-reason", deny.reason.code),
            *deny.headers,
        )
        challenge = challenge_for(deny, self._algs)
        return (*headers, ("www-authenticate", challenge)) if challenge else headers


def _described(decision: Decision, policy_version: str) -> tuple[str, ...]:
    agent, delegation = decision.agent, decision.delegation
    is_allow = isinstance(decision, Allow)
    return (
        Effect.ALLOW if is_allow else Effect.DENY,
        "" if isinstance(decision, Allow) else decision.reason.code,
        ID_PLACE,
        agent.spiffe_id.text if agent else "",
        delegation.subject if delegation else "",
        delegation.issuer if delegation else "",
        ",".join([actor.subject for actor in delegation.actors[1:]]) if delegation else "",
        decision.permit.agent_rule if isinstance(decision, Allow) else decision.rule,
        policy_version,
        ",".join([f"{shadow.by}:{shadow.decision}" for shadow in decision.shadows]),
    )
