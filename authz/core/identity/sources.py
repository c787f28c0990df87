"""The identity sources of profiles: principal, certificate and metadata, and the table of all.

A source declares the inputs that it reads. It declares every header as an identity. So no client
may set the header behind a gateway that forwards headers, no condition reads it, and no record
keeps it. ``SOURCES`` has all sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from authz.core.identity.evidence import NO_HEADERS, ClaimedIdentity, Evidence, IdentitySource
from authz.core.identity.settings import Source
from authz.core.identity.xfcc_source import XfccSource
from authz.core.reads import Reads
from authz.core.reason import Denied, Reason

MAX_METADATA_BYTES: Final = 64 * 1024  # a certificate and a few names


@dataclass(frozen=True, slots=True)
class PrincipalSource(IdentitySource):
    """The identity source ``principal``: Envoy's ``source.principal``."""

    headers: ClassVar[frozenset[str]] = NO_HEADERS

    def claimed(self, evidence: Evidence) -> ClaimedIdentity:
        """Return the principal. Raises Denied(AGENT_MISSING)."""
        request = evidence.request
        if not request.principal:
            raise Denied(Reason.AGENT_MISSING, "the proxy sent no source.principal")
        return ClaimedIdentity(request.principal, "source.principal", request.certificate)


@dataclass(frozen=True, slots=True)
class CertificateSource(IdentitySource):
    """The identity source ``certificate``: the one URI name in ``source.certificate``."""

    headers: ClassVar[frozenset[str]] = NO_HEADERS

    def claimed(self, evidence: Evidence) -> ClaimedIdentity:
        """Return the certificate's name.

        Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
        """
        certificate = evidence.request.certificate
        if not certificate:
            raise Denied(Reason.AGENT_MISSING, "the proxy sent no source.certificate")
        (name,) = evidence.svid(certificate, "source.certificate").uris
        evidence.agrees_with_principal(name)
        return ClaimedIdentity(name, "source.certificate", certificate)


@dataclass(frozen=True, slots=True)
class MetadataSource(IdentitySource):
    """The identity source ``metadata``: a namespace that a proxy sets, as agentgateway's CEL can.

    Reads its members ``spiffe_id`` and ``certificate``.
    """

    headers: ClassVar[frozenset[str]] = NO_HEADERS

    @property
    def reads(self) -> Reads:
        """The namespace."""
        return Reads(namespaces=frozenset({self.profile.namespace}))

    def claimed(self, evidence: Evidence) -> ClaimedIdentity:
        """Return the caller that the metadata names.

        Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
        """
        namespace = self.profile.namespace
        data = dict(evidence.request.metadata).get(namespace)
        if data is None:
            raise Denied(Reason.AGENT_MISSING, f"the proxy sent no metadata {namespace}")
        fields = _struct(data)
        name = _text(fields, "spiffe_id")
        if not name:
            raise Denied(Reason.AGENT_MISSING, f"{namespace} has no spiffe_id")
        evidence.agrees_with_principal(name)
        certificate = _text(fields, "certificate") or evidence.request.certificate
        return ClaimedIdentity(name, f"{namespace} spiffe_id", certificate)


def _struct(data: bytes) -> Struct:
    if len(data) > MAX_METADATA_BYTES:
        raise Denied(Reason.AGENT_INVALID, "the metadata is too large")
    try:
        return Struct.FromString(data)
    except DecodeError:  # nested too deeply, too
        raise Denied(Reason.AGENT_INVALID, "the metadata is not a Struct") from None


def _text(fields: Struct, name: str) -> str:
    """Return a string member; "" if absent or null, as a CEL expression without a value is."""
    value = fields.fields.get(name)
    kind = value.WhichOneof("kind") if value is not None else None
    if value is None or kind in (None, "null_value"):
        return ""
    if kind != "string_value":
        raise Denied(Reason.AGENT_INVALID, f"the metadata's {name} is not a string")
    return value.string_value


SOURCES: Final[Mapping[Source, type[IdentitySource]]] = {
    Source.PRINCIPAL: PrincipalSource,
    Source.CERTIFICATE: CertificateSource,
    Source.XFCC: XfccSource,
    Source.METADATA: MetadataSource,
}
IDENTITY_HEADERS: Final = NO_HEADERS.union(*(source.headers for source in SOURCES.values()))
"""Headers that are an identity in any profile: no client may set them behind a gateway."""
