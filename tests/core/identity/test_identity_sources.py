"""The identity sources, each held to what every source must do."""

from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier
from google.protobuf.struct_pb2 import Struct

from authz.core.identity import ProfileSettings
from authz.core.identity.settings import Source
from authz.core.request import Request
from lab.ca import Svid
from lab.mesh import GATEWAY, TRAVEL
from support.conformance.identity_source import EMPTY, IdentitySourceConformance

# Names that look like the agent's, and are no SPIFFE IDs.
NO_IDS = {
    "a DNS name": "travel.corp.example",
    "a subject": "CN=travel",
    "capitals": TRAVEL.replace("spiffe:", "SPIFFE:"),
    "a port": TRAVEL.replace("corp.example", "corp.example:443"),
    "a query": f"{TRAVEL}?x",
    "a space": f" {TRAVEL}",
}


def name_of(svid: Svid) -> str:
    """Return the URI name of a certificate."""
    names = svid.certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(UniformResourceIdentifier)
    return uri


class TestPrincipal(IdentitySourceConformance):
    """Envoy's ``source.principal``."""

    profile = ProfileSettings()
    place = "principal"
    attributes = frozenset({"principal", "certificate"})

    def naming(self, svid: Svid) -> Request:
        """Name it in the principal."""
        return msgspec.structs.replace(EMPTY, principal=name_of(svid), certificate=svid.url_encoded)

    def unreadable(self, svid: Svid) -> Mapping[str, Request]:
        """Return principals that are no SPIFFE IDs."""
        del svid
        return {why: msgspec.structs.replace(EMPTY, principal=text) for why, text in NO_IDS.items()}


class TestCertificate(IdentitySourceConformance):
    """The URI name of ``source.certificate``."""

    profile = ProfileSettings(identity=Source.CERTIFICATE)
    place = "certificate"
    attributes = frozenset({"principal", "certificate"})

    def naming(self, svid: Svid) -> Request:
        """Name it by the certificate."""
        return msgspec.structs.replace(EMPTY, certificate=svid.url_encoded)

    def unreadable(self, svid: Svid) -> Mapping[str, Request]:
        """Return certificates that can't be read, or are two."""
        texts = {"no PEM": "x", "cut": svid.url_encoded[:-60], "two": svid.url_encoded * 2}
        return {
            why: msgspec.structs.replace(EMPTY, certificate=text) for why, text in texts.items()
        }


class TestXfcc(IdentitySourceConformance):
    """The header ``x-forwarded-client-cert`` of a trusted proxy."""

    profile = ProfileSettings(identity=Source.XFCC, trusted_proxies=(GATEWAY,))
    place = "header:x-forwarded-client-cert"
    attributes = frozenset({"principal", "certificate", "proxy"})

    def _with(self, text: str) -> Request:
        return msgspec.structs.replace(EMPTY, headers=(("x-forwarded-client-cert", text),))

    def naming(self, svid: Svid) -> Request:
        """Name it in an element that the trusted proxy wrote."""
        return self._with(f"By={GATEWAY};URI={name_of(svid)}")

    def unreadable(self, svid: Svid) -> Mapping[str, Request]:
        """Return headers that are not of the form, or of nobody's writing."""
        del svid
        good = f"By={GATEWAY};URI={TRAVEL}"
        texts = {
            "no form": "x",
            "no URI": f"By={GATEWAY}",
            "two URIs": f"{good};URI={TRAVEL}",
            "two elements": f"{good},{good}",
            "nobody wrote it": f"URI={TRAVEL}",
            "written by an agent": f"By={TRAVEL};URI={TRAVEL}",
            "an open quote": f'By="{GATEWAY};URI={TRAVEL}',
            **{why: f'By={GATEWAY};URI="{text}"' for why, text in NO_IDS.items()},
        }
        return {why: self._with(text) for why, text in texts.items()}


class TestXfccDirect(TestPrincipal):
    """An agent's own connection, in a profile that takes the header of trusted proxies too."""

    profile = ProfileSettings(identity=Source.XFCC, trusted_proxies=(GATEWAY,), direct=True)


class TestMetadata(IdentitySourceConformance):
    """The metadata that agentgateway's CEL sets."""

    profile = ProfileSettings(identity=Source.METADATA)
    place = "metadata"
    attributes = frozenset({"principal", "certificate"})  # and the profile's own namespace

    def _with(self, data: bytes) -> Request:
        return msgspec.structs.replace(EMPTY, metadata=((self.profile.namespace, data),))

    def naming(self, svid: Svid) -> Request:
        """Name it in the profile's namespace."""
        return self._with(_struct(spiffe_id=name_of(svid)))

    def unreadable(self, svid: Svid) -> Mapping[str, Request]:
        """Return metadata of other types, too large, or that names nobody."""
        del svid
        return {
            "no Struct": self._with(b"\xff"),
            "too large": self._with(_struct(spiffe_id=TRAVEL, more="x" * (64 * 1024))),
            "a number": self._with(_struct(spiffe_id=5)),
            "a list": self._with(_struct(spiffe_id=[TRAVEL])),
            "a certificate of another type": self._with(_struct(spiffe_id=TRAVEL, certificate=5)),
            **{why: self._with(_struct(spiffe_id=text)) for why, text in NO_IDS.items()},
        }


def _struct(**fields: Any) -> bytes:
    made = Struct()
    made.update(fields)
    return made.SerializeToString()
