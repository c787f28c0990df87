"""Examines a token without a request: finds every fault that step 2 refuses, not only the first.

The checks are those of the pipeline, in its order. The checks that need a request are left out: the
credential's header, and the proof that the caller holds the key that the token is bound to.
"""

from dataclasses import dataclass

from authz.core.decision import Agent, Mode
from authz.core.delegation.actor import actor_faults
from authz.core.delegation.authentication import check_authentication
from authz.core.delegation.claims import claim_faults, unchecked_claims
from authz.core.delegation.confirmation import required_bindings
from authz.core.delegation.faults import attempt, collect
from authz.core.delegation.header import header_faults
from authz.core.delegation.settings import IssuerSettings
from authz.core.jose.jws import Jws
from authz.core.reason import Denied
from authz.core.routes import Route


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of step 2 for a token, without its signature and its proof of possession.

    Attributes:
        faults: all refusals, each once, in the order of the checks.
        mode: how the agent would act; None if that is not known.
    """

    faults: tuple[Denied, ...]
    mode: Mode | None


def examine(
    jws: Jws, issuer: IssuerSettings, agent: Agent, route: Route, now: float
) -> Examination:
    """Examine an unverified token as one that lets this agent act on a route. Never raises."""
    faults = [*header_faults(jws, issuer), *claim_faults(jws, issuer, route, now)]
    mode: Mode | None = None
    claims, _ = attempt(lambda: unchecked_claims(jws, issuer))
    if claims is not None:
        of_actor, mode = actor_faults(claims, issuer, agent, route)
        faults += of_actor
    faults += collect(
        lambda: required_bindings(jws.payload, issuer, route),
        lambda: check_authentication(jws.payload, route, now),
    )
    once = {(fault.reason, fault.detail): fault for fault in reversed(faults)}
    kept = {id(fault) for fault in once.values()}
    return Examination(tuple(fault for fault in faults if id(fault) in kept), mode)
