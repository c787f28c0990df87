"""Where a proxy's word about the caller stands: one function for each source of a profile."""

from functools import lru_cache
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from authz.core.base64url import base64url
from authz.core.identity import xfcc
from authz.core.identity.settings import ProfileSettings
from authz.core.reason import Denied, Reason
from authz.core.request import XFCC, Request
from authz.core.spiffe import SpiffeId, SpiffeIdError, SpiffePattern
from authz.core.spiffe.svid import checked_svid

MAX_METADATA_BYTES: Final = 64 * 1024  # a certificate and a few names
_NAMES: Final = 4096  # agents in use; one is some 4 KiB at most
_PATTERNS: Final = 1024  # of all configs that were loaded lately


class Presented(msgspec.Struct, frozen=True, gc=False):
    """The caller as a proxy presents it, nothing of it checked yet.

    Attributes:
        name: what should be a SPIFFE ID.
        origin: where it stood, for operators.
        certificate: PEM, URL-encoded or not; "" when the proxy sent none of the caller.
        thumbprint: base64url SHA-256 of the caller's certificate, "" when unknown.
    """

    name: str
    origin: str
    certificate: str = ""
    thumbprint: str = ""


_parsed: Final = lru_cache(_NAMES)(SpiffeId.parse)  # a pure function, on few texts


def spiffe_id_of(name: str, origin: str) -> SpiffeId:
    """The name as a SPIFFE ID. Raises Denied(AGENT_INVALID)."""
    try:
        return _parsed(name)
    except SpiffeIdError as error:
        raise Denied(Reason.AGENT_INVALID, f"{origin}: {error}") from None


def from_principal(request: Request, _: ProfileSettings, __: float) -> Presented:
    """Envoy's ``source.principal``. Raises Denied(AGENT_MISSING)."""
    if not request.principal:
        raise Denied(Reason.AGENT_MISSING, "the proxy sent no source.principal")
    return Presented(request.principal, "source.principal", request.certificate)


def from_certificate(request: Request, _: ProfileSettings, now: float) -> Presented:
    """The one URI name in ``source.certificate``.

    Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
    """
    if not request.certificate:
        raise Denied(Reason.AGENT_MISSING, "the proxy sent no source.certificate")
    (name,) = checked_svid(request.certificate, now, "source.certificate").uris
    _agree_with_principal(request, name)
    return Presented(name, "source.certificate", request.certificate)


def from_metadata(request: Request, profile: ProfileSettings, _: float) -> Presented:
    """``spiffe_id`` and ``certificate`` of the profile's namespace, as agentgateway's CEL sets it.

    Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
    """
    data = dict(request.metadata).get(profile.namespace)
    if data is None:
        raise Denied(Reason.AGENT_MISSING, f"the proxy sent no metadata {profile.namespace}")
    fields = _struct(data)
    name = _text(fields, "spiffe_id")
    if not name:
        raise Denied(Reason.AGENT_MISSING, f"{profile.namespace} has no spiffe_id")
    _agree_with_principal(request, name)
    certificate = _text(fields, "certificate") or request.certificate
    return Presented(name, f"{profile.namespace} spiffe_id", certificate)


def _struct(data: bytes) -> Struct:
    if len(data) > MAX_METADATA_BYTES:
        raise Denied(Reason.AGENT_INVALID, "the metadata is too large")
    try:
        return Struct.FromString(data)
    except DecodeError:  # too deep as well
        raise Denied(Reason.AGENT_INVALID, "the metadata is not a Struct") from None


def _text(fields: Struct, name: str) -> str:
    """A string member; "" when it is absent or null, as a CEL expression without a value is."""
    value = fields.fields.get(name)
    kind = value.WhichOneof("kind") if value is not None else None
    if value is None or kind in (None, "null_value"):
        return ""
    if kind != "string_value":
        raise Denied(Reason.AGENT_INVALID, f"the metadata's {name} is not a string")
    return value.string_value


def _agree_with_principal(request: Request, name: str) -> None:
    if request.principal not in ("", name):
        raise Denied(Reason.IDENTITY_CONFLICT, "source.principal is another name")


def from_xfcc(request: Request, profile: ProfileSettings, now: float) -> Presented:
    """The first element of ``x-forwarded-client-cert``, whose writers the profile trusts.

    Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
    """
    elements = _elements(request, profile)
    of_agent = elements[0]
    (name,) = of_agent.uris
    is_peer = request.principal == name
    if request.principal and not is_peer:
        _check_peer(request, profile, now)
    _check_writers(request, profile, elements)
    return Presented(
        name,
        XFCC,
        of_agent.certificate or (request.certificate if is_peer else ""),
        base64url(bytes.fromhex(of_agent.hash)),
    )


def _elements(request: Request, profile: ProfileSettings) -> tuple[xfcc.Element, ...]:
    """One element of each proxy on the way, with one URI name each."""
    text = request.header(XFCC)
    if not text:
        raise Denied(Reason.AGENT_MISSING, f"no {XFCC} header")
    try:
        elements = xfcc.parse(text)
    except xfcc.XfccError as error:
        raise Denied(Reason.AGENT_INVALID, f"{XFCC}: {error}") from None
    if len(elements) != profile.hops:
        raise Denied(Reason.AGENT_INVALID, f"{XFCC} has {len(elements)} elements")
    if any(len(element.uris) != 1 for element in elements):
        raise Denied(Reason.AGENT_INVALID, f"{XFCC} must name exactly one URI")
    return elements


def _check_peer(request: Request, profile: ProfileSettings, now: float) -> None:
    """The connection is another's than the agent's: so it must be a trusted proxy's."""
    peer = request.principal
    if not _is_trusted(peer, profile.trusted_proxies):
        raise Denied(Reason.IDENTITY_CONFLICT, "source.principal is not a trusted proxy")
    if not request.certificate:
        return
    if checked_svid(request.certificate, now, "source.certificate").uris != (peer,):
        raise Denied(Reason.IDENTITY_CONFLICT, "source.certificate has another SPIFFE ID")


def _check_writers(
    request: Request, profile: ProfileSettings, elements: tuple[xfcc.Element, ...]
) -> None:
    """Hold every name of a proxy that wrote against the trusted ones; one there must be.

    Each element names its writer (By), and each but the agent's the proxy before (URI). A proxy
    that saw no client certificate itself, as Istio's waypoint, is known by its own on our port.
    """
    names = [name for element in elements for name in element.by]
    names.extend(name for element in elements[1:] for name in element.uris)
    if request.proxy and not request.principal:
        names.append(request.proxy)
    if not all(_is_trusted(name, profile.trusted_proxies) for name in names):
        raise Denied(Reason.AGENT_INVALID, f"{XFCC} was written by an untrusted proxy")
    if not names and not request.principal:
        raise Denied(Reason.AGENT_INVALID, f"nothing says which proxy wrote {XFCC}")


def _is_trusted(name: str, patterns: tuple[str, ...]) -> bool:
    try:
        spiffe_id = SpiffeId.parse(name)
    except SpiffeIdError:
        return False
    return any(_pattern(text).matches(spiffe_id) for text in patterns)


@lru_cache(_PATTERNS)
def _pattern(text: str) -> SpiffePattern:
    return SpiffePattern.parse(text)
