"""Finds why the caller of a check is unknown, or could be another than the proxy saw."""

from collections.abc import Iterator

from authz.core.choice import Need
from authz.core.identity import ProfileSettings
from authz.core.identity.settings import Source
from authz.core.spiffe import SpiffeId, SpiffeIdError, SpiffePattern
from authz.edge.presentation import XfccSeen
from authz.review.doctor.case import Case, Finding


def caller_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the evidence of the caller."""
    profile = case.profile
    if profile is None or not case.is_ext_authz:
        return
    found = [*_of_principal(case, profile), *_of_certificate(case, profile)]
    is_read = profile.identity is Source.XFCC and not _is_direct(case, profile)
    found += _of_xfcc(case, profile) if is_read else _unread_xfcc(case)
    yield from found
    reason = case.seen.identity.reason
    if reason and not any(one.severity == "error" for one in found):
        yield case.error("caller_refused", f"{reason}: {case.seen.identity.detail}")


def _of_principal(case: Case, profile: ProfileSettings) -> Iterator[Finding]:
    identity = case.seen.identity
    if profile.identity is Source.PRINCIPAL and not identity.principal:
        yield case.error(
            "no_principal",
            "no source.principal came, so that no agent is known: the proxy saw no client "
            "certificate",
            envoy="the listener's DownstreamTlsContext needs require_client_certificate: true and "
            "a validation_context that trusts the agents' CA",
            istio="set PeerAuthentication mtls.mode: STRICT, or tls.mode: MUTUAL on the ingress "
            "Gateway; a waypoint has no principal: annotate its Gateway with "
            'ambient.istio.io/xfcc-include-client-identity: "true", and use identity: xfcc',
            envoy_gateway="ClientTrafficPolicy needs tls.clientValidation.caCertificateRefs",
            agentgateway="the listener needs mTLS with the agents' CA, so that it knows source",
            here="if the proxy names the agent elsewhere, use a profile with another identity",
        )
    if identity.principal_form not in ("", "spiffe") and profile.identity is not Source.METADATA:
        yield case.error(
            "principal_form",
            f"source.principal is a {identity.principal_form} and not a SPIFFE ID: the agent's "
            "certificate has no SPIFFE ID as its first URI name",
            envoy="issue X.509-SVIDs to agents, and verify them by envoy.tls.cert_validator.spiffe",
            istio="the agent has to be in the mesh, or to bring an X.509-SVID",
            envoy_gateway="issue X.509-SVIDs to agents, and trust only the CA that issues them",
            agentgateway="issue X.509-SVIDs to agents, and trust only the CA that issues them",
        )


def _of_certificate(case: Case, profile: ProfileSettings) -> Iterator[Finding]:
    certificate = case.seen.identity.certificate
    is_needed = profile.certificate is Need.REQUIRED or profile.identity is Source.CERTIFICATE
    if certificate == "absent" and is_needed and profile.identity is not Source.METADATA:
        yield from _absent(case, profile)
    elif certificate not in ("absent", "svid"):
        yield case.error(
            "certificate_invalid",
            f"the caller's certificate is not a valid X.509-SVID: {certificate}",
            envoy="verify agents by envoy.tls.cert_validator.spiffe, and bound connections by "
            "max_connection_duration, as one may outlive its certificate",
            istio="the agent's workload certificate is not an X.509-SVID, or has expired",
            envoy_gateway="issue X.509-SVIDs to agents",
            agentgateway="issue X.509-SVIDs to agents",
        )


def _absent(case: Case, profile: ProfileSettings) -> Iterator[Finding]:
    if profile.identity is Source.XFCC and case.seen.identity.agent:  # Cert= of the header
        return
    yield case.error(
        "no_certificate",
        "the profile needs the caller's certificate, and source.certificate did not come",
        envoy="the ext_authz filter needs include_peer_certificate: true",
        istio="its ext_authz filter sends no certificate: set certificate: optional in the profile",
        envoy_gateway="its ext_authz filter sends no certificate: set certificate: optional, or "
        "xForwardedClientCert with certDetailsToAdd: [Cert] and identity: xfcc",
        agentgateway="the listener needs mTLS with the agents' CA",
    )


def _unread_xfcc(case: Case) -> Iterator[Finding]:
    """Find an account of the caller that the profile ignores: only the proxy's own is harmless."""
    identity = case.seen.identity
    header = identity.xfcc
    if header is None or (header.elements == 1 and header.uris == (identity.principal,)):
        return
    yield case.warning(
        "xfcc_ignored",
        "x-forwarded-client-cert came and does not say what source.principal says: a client, or a "
        "proxy before this one, wrote it; the profile ignores it, but upstreams may believe it",
        envoy="set forward_client_cert_details: SANITIZE_SET (or SANITIZE), so that no client's "
        "header passes",
        istio="an ingress gateway that others reach needs forwardClientCertDetails: SANITIZE_SET",
        envoy_gateway="ClientTrafficPolicy headers.xForwardedClientCert.mode: SanitizeSet",
        agentgateway="remove the header by requestHeaderModifier",
        here="if a trusted proxy before this one wrote it, use a profile with identity: xfcc and "
        "its trusted_proxies",
    )


def _of_xfcc(case: Case, profile: ProfileSettings) -> Iterator[Finding]:
    header = case.seen.identity.xfcc
    if header is None or header.fault:
        yield from _no_xfcc(case, header)
        return
    if header.elements != profile.hops:
        yield case.error(
            "xfcc_hops",
            f"x-forwarded-client-cert has {header.elements} elements, and the profile's hops is "
            f"{profile.hops}: as many proxies have to write one",
            envoy="the first proxy has to use SANITIZE_SET, each further one APPEND_FORWARD",
            istio="gatewayTopology.forwardClientCertDetails: SANITIZE_SET on the gateway; the "
            "sidecar appends its own",
            envoy_gateway="headers.xForwardedClientCert.mode: SanitizeSet at the first proxy, "
            "AppendForward at each further one",
            here=f"set hops: {header.elements} if so many proxies of yours write the header",
        )
    yield from _of_elements(case, profile, header)


def _no_xfcc(case: Case, header: XfccSeen | None) -> Iterator[Finding]:
    is_missing = header is None
    yield case.error(
        "no_xfcc" if is_missing else "xfcc_unreadable",
        "the profile takes the caller from x-forwarded-client-cert, and "
        + ("it did not come" if header is None else f"it can't be read: {header.fault}"),
        envoy="set forward_client_cert_details: SANITIZE_SET and "
        "set_current_client_cert_details: {uri: true}",
        istio="sidecars write it; a waypoint only with the annotation "
        'ambient.istio.io/xfcc-include-client-identity: "true" on its Gateway',
        envoy_gateway="ClientTrafficPolicy headers.xForwardedClientCert: "
        "{mode: SanitizeSet, certDetailsToAdd: [URI]}",
        agentgateway="it writes no such header: use identity: principal",
    )


def _of_elements(case: Case, profile: ProfileSettings, header: XfccSeen) -> Iterator[Finding]:
    if any(uri in ("", "other") for uri in header.uris):
        yield case.error(
            "xfcc_without_uri",
            "an element of x-forwarded-client-cert does not name exactly one SPIFFE ID",
            envoy="set set_current_client_cert_details: {uri: true}; agents need an X.509-SVID",
            istio="the client of that hop had no certificate of the mesh: use STRICT mTLS",
            envoy_gateway="headers.xForwardedClientCert.certDetailsToAdd needs URI",
        )
    strangers = [by for by in dict.fromkeys(header.by) if not _is_trusted(by, profile)]
    if strangers:
        yield case.error(
            "xfcc_untrusted",
            f"x-forwarded-client-cert was written by {', '.join(strangers)}, which trusted_proxies "
            "does not list: it could be a client's own header",
            envoy="the first proxy has to use SANITIZE_SET, which drops a client's header",
            istio="a waypoint has the ID of its Gateway's own namespace and service account",
            here="list the proxy in trusted_proxies if it is yours",
        )
    if not header.by and not case.seen.identity.principal and not case.seen.proxy:
        yield case.error(
            "xfcc_unsigned",
            "no element of x-forwarded-client-cert says By whom it was written",
            envoy="the proxy's own certificate needs a SPIFFE ID as its URI name",
            istio="the annotation of waypoints needs a version that writes By; or let the waypoint "
            "call agent-authz by mTLS",
            here="use server.tls: then the proxy is known by its own certificate",
        )


def _is_direct(case: Case, profile: ProfileSettings) -> bool:
    """Tell whether an agent came without a trusted proxy, where the profile lets it."""
    principal = case.seen.identity.principal
    return profile.direct and bool(principal) and not _is_trusted(principal, profile)


def _is_trusted(name: str, profile: ProfileSettings) -> bool:
    try:
        spiffe_id = SpiffeId.parse(name)
    except SpiffeIdError:
        return False
    return any(SpiffePattern.parse(text).matches(spiffe_id) for text in profile.trusted_proxies)
