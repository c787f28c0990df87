"""The chain of actors of a new token: it grows by the client, and is never cut (RFC 8693 4.1)."""

from collections.abc import Mapping
from typing import Any

from authz.core.decision import Actor, Agent
from authz.core.delegation.claims import name_in
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SCHEME
from authz.core.sts.settings import Loops, TokenServiceSettings
from authz.core.sts.subject import Subject


def grown(subject: Subject, client: Agent, settings: TokenServiceSettings) -> tuple[Actor, ...]:
    """Return the chain of a token for the client, who is its first.

    The current actor who narrows its own token hands nothing on: the chain stays as it is. Raises
    Denied(ACTOR_NOT_PERMITTED | CHAIN_TOO_DEEP).
    """
    own, earlier = client.spiffe_id.text, subject.actors
    if earlier and earlier[0].subject == own:
        earlier = earlier[1:]
    if settings.loops is Loops.DENY and any(actor.subject == own for actor in earlier):
        raise Denied(Reason.ACTOR_NOT_PERMITTED, "the client is an earlier actor of the token")
    chain = (Actor(settings.issuer, own), *earlier)
    if len(chain) > settings.max_actors:
        raise Denied(Reason.CHAIN_TOO_DEEP, f"more than {settings.max_actors} actors")
    return chain


def act_claim(chain: tuple[Actor, ...]) -> dict[str, Any]:
    """Return the ``act`` of a chain. A SPIFFE ID is unique without an issuer, another name is not.

    The chain's first is the outermost.
    """
    act: dict[str, Any] = {}
    for actor in reversed(chain):
        inner = {"act": act} if act else {}
        named_by = {} if actor.subject.startswith(SCHEME) else {"iss": actor.issuer}
        act = {"sub": actor.subject, **named_by, **inner}
    return act


def check_may_act(subject: Subject, client: Agent) -> None:
    """Require that ``may_act``, if a subject token has it, names the client (section 4.4).

    Raises Denied(ACTOR_MALFORMED | ACTOR_NOT_PERMITTED).
    """
    members = subject.claims.members
    if "may_act" not in members:
        return
    named: object = members["may_act"]
    if not isinstance(named, Mapping):
        raise Denied(Reason.ACTOR_MALFORMED, "its may_act is not an object")
    if not named.keys() <= {"sub", "iss"}:  # each further member says who is meant
        raise Denied(Reason.ACTOR_NOT_PERMITTED, "its may_act has members that are not checked")
    issuer = subject.issuer
    reason = Reason.ACTOR_MALFORMED
    name = name_in(named, "sub", of="may_act's", reason=reason)
    named_by = name_in(named, "iss", default=issuer.issuer, of="may_act's", reason=reason)
    own, domain = client.spiffe_id.text, client.spiffe_id.trust_domain.spiffe_id
    if named_by == issuer.issuer:
        name = issuer.actor.agent_of(name) or name
    if name != own or named_by not in {issuer.issuer, domain, *issuer.actor.issuers}:
        raise Denied(Reason.ACTOR_NOT_PERMITTED, "its may_act names another than the client")
