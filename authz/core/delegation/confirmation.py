"""The check that the caller holds the key that the token is bound to (``cnf``, RFC 7800 3.1).

A binding that can't be checked refuses the token: ignoring it would accept a bound token as a
bearer token.
"""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.choice import Need
from authz.core.decision import Agent
from authz.core.delegation.credential import Credential
from authz.core.delegation.dpop import DpopVerifier
from authz.core.delegation.settings import IssuerSettings
from authz.core.reason import DPOP_SCHEME, Denied, Reason
from authz.core.request import Request
from authz.core.routes import Route
from authz.core.single_use import SingleUse

THUMBPRINT: Final = "x5t#S256"  # of the client's certificate (RFC 8705 section 3.1)
PROOF_KEY: Final = "jkt"  # thumbprint of the DPoP key (RFC 9449 section 6.1)
_CHECKED: Final = frozenset({THUMBPRINT, PROOF_KEY})
_OTHER_KEYS: Final = frozenset({"jwk", "jwe", "jku", "kid"})  # RFC 7800: no request can prove these


def check_confirmation(
    members: Mapping[str, Any],
    credential: Credential,
    request: Request,
    agent: Agent,
    *,
    issuer: IssuerSettings,
    route: Route,
    proofs: DpopVerifier,
    now: float,
) -> SingleUse | None:
    """Check the binding that a token's claims name, if any; return the DPoP proof.

    The caller must see to it that the proof is not used again.

    Raises Denied(CNF_UNSUPPORTED | POP_MISSING | CNF_MISMATCH | DPOP_PROOF | DPOP_NONCE).
    """
    bindings = required_bindings(members, issuer, route)
    proof: SingleUse | None = None
    if PROOF_KEY in bindings:
        proof = proofs.check(credential, bindings[PROOF_KEY], request, route, now)
    elif credential.is_dpop:
        detail = "the DPoP scheme was used with a token that is not bound to a DPoP key"
        raise Denied(Reason.CNF_MISMATCH, detail, scheme=DPOP_SCHEME)
    if THUMBPRINT in bindings:
        _check_certificate(bindings[THUMBPRINT], agent)
    return proof


def required_bindings(
    members: Mapping[str, Any], issuer: IssuerSettings, route: Route
) -> Mapping[str, Any]:
    """Return the keys that a token is bound to and the caller must prove.

    Empty for an unbound token.

    Raises Denied(CNF_UNSUPPORTED | POP_MISSING).
    """
    bindings = _bindings(members, issuer)
    if not bindings and (route.needs_proof or issuer.proof is Need.REQUIRED):
        raise Denied(Reason.POP_MISSING, "the token must be bound to a key, and is not")
    return bindings


def _bindings(members: Mapping[str, Any], issuer: IssuerSettings) -> Mapping[str, Any]:
    """Return the token's bindings, all of them supported; empty without ``cnf``.

    Raises Denied(CNF_UNSUPPORTED).
    """
    if "cnf" not in members:
        return {}
    cnf = members["cnf"]
    if not isinstance(cnf, dict) or not cnf.keys() & _CHECKED:
        raise Denied(Reason.CNF_UNSUPPORTED, "its cnf has no supported member")
    if cnf.keys() & _OTHER_KEYS:  # RFC 7800 section 3.1: one proof key at most
        raise Denied(
            Reason.CNF_UNSUPPORTED, "its cnf names a key of a kind that no request can prove"
        )
    if not cnf.keys() <= _CHECKED and "cnf" not in issuer.accept_unchecked:
        raise Denied(Reason.CNF_UNSUPPORTED, "its cnf has an unsupported member")
    return cnf


def _check_certificate(thumbprint: object, agent: Agent) -> None:
    if not agent.thumbprint:
        raise Denied(Reason.POP_MISSING, "the proxy sent no certificate to compare with its cnf")
    if thumbprint != agent.thumbprint:
        raise Denied(Reason.CNF_MISMATCH, "the caller's certificate is not the one in its cnf")
