"""The response to a proxy, in no dialect's form. A dialect's writer encodes it.

So the headers for upstreams, the words of refusals and the metadata for a proxy's log are defined
in one place. A response is cached with its decision, but each answer has a new decision id:
``ID_PLACE`` stands wherever the id goes.
"""

import secrets
from typing import Final

import msgspec

from authz.core.decision import Allow, Decision, Deny, Effect
from authz.core.reason import Reason
from authz.core.request import MessageProtocol
from authz.edge.challenge import challenge_for
from authz.edge.header_settings import HeaderSettings
from authz.edge.identity_headers import NO_NAMES, HeaderShape, IdentityHeaders
from authz.edge.refusal import NO_BODY, Body, asks_for_urls, build_body

# As long as an id, so that lengths around it stay right. Random, so that no client can write it
# into a claim and get its own text cut.
ID_PLACE: Final = secrets.token_hex(16)
CHALLENGE: Final = "www-authenticate"
_OK: Final = 200  # of HTTP; the dialect's own status says that the answer is a refusal
METADATA: Final = (
    *("decision", "reason", "decision_id", "agent", "principal", "issuer", "chain"),
    *("rule", "policy_version", "shadow"),
)


class Response(msgspec.Struct, frozen=True, gc=False):
    """The answer to a check, with ``ID_PLACE`` for the decision's id.

    Attributes:
        reason: of a refusal; None for an allow.
        values: of the headers to set, in the upstream's request or the client's answer.
        described: values that the proxy may log, in the order of the names of ``metadata``.
        shape: the names of the headers to set, and to take from the upstream's request.
        status: the HTTP status for the client; also 200 if only the message shows the refusal.
        body: of a refusal.
    """

    reason: Reason | None
    values: tuple[str, ...]
    described: tuple[str, ...]
    shape: HeaderShape = NO_NAMES
    status: int = _OK
    body: Body = NO_BODY

    def __repr__(self) -> str:
        """Return a text without the values, of which one may be the upstream's credential."""
        return f"Response({self.reason}, {self.shape.names})"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers to set, as (name, value)."""
        return tuple(zip(self.shape.names, self.values, strict=True))

    @property
    def challenge(self) -> str:
        """Return the ``WWW-Authenticate`` of a refusal, "" if it has none."""
        return dict(self.headers).get(CHALLENGE, "") if self.reason is not None else ""

    @property
    def removed(self) -> tuple[str, ...]:
        """Return the names of headers to take from the upstream's request."""
        return self.shape.removed

    @property
    def metadata(self) -> dict[str, str]:
        """Return the values that the proxy may log, by name."""
        return dict(zip(METADATA, self.described, strict=True))

    @property
    def chars(self) -> int:
        """Return the number of characters of all texts except the shared ones of the shape."""
        body = self.body
        of_body = len(body.text) + len(body.error) + len(body.message)
        return len("".join((*self.values, *self.described))) + of_body


class Responder:
    """Builds the responses of one version of the settings."""

    def __init__(
        self,
        headers: HeaderSettings,
        stripped: tuple[str, ...],
        dpop_algorithms: tuple[str, ...],
        added: tuple[str, ...] = (),
        assertion: str = "",
    ) -> None:
        """Take the settings of the identity headers.

        ``stripped`` names headers that an upstream must not see unless the allow forwards the
        token; ``dpop_algorithms`` are offered in challenges; ``added`` names all headers that rules
        may add, and ``assertion`` the header of assertions, "" without any.
        """
        self._identity = IdentityHeaders(headers, stripped, added, assertion)
        self._algs = " ".join(dpop_algorithms)

    def respond(
        self, decision: Decision, policy_version: str, protocol: MessageProtocol
    ) -> Response:
        """Return the response for a decision, on a route of this protocol."""
        described = _described(decision, policy_version)
        if isinstance(decision, Allow):
            shape, values = self._identity.of(decision, ID_PLACE)
            return Response(None, values, described, shape)
        body = build_body(decision, protocol, ID_PLACE)
        # Clients take an answer with another status for a failure of the transport.
        by_message = decision.by_message or asks_for_urls(decision)
        status = _OK if by_message else decision.reason.http_status
        names, values = zip(*self._refusal_headers(decision, body), strict=True)
        return Response(decision.reason, values, described, HeaderShape(names), status, body)

    def _refusal_headers(self, deny: Deny, body: Body) -> tuple[tuple[str, str], ...]:
        headers = (
            ("content-type", body.content_type),
            ("cache-control", "no-store"),
            ("x-authz-reason", deny.reason.code),
            *deny.headers,
        )
        challenge = challenge_for(deny, self._algs)
        return (*headers, (CHALLENGE, challenge)) if challenge else headers


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
