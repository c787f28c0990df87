"""The metadata of the token service (RFC 8414), and where each of its documents stands."""

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from authz.adapters.sts_settings import StsSettings
from authz.core.sts.request import GRANT_TYPE
from authz.core.sts.settings import Binding

_WELL_KNOWN: Final = "/.well-known/oauth-authorization-server"


def base_path(issuer: str) -> str:
    """Return the path of an issuer, without the slash at its end; "" for one without a path."""
    return urlsplit(issuer).path.rstrip("/")


def metadata_path(issuer: str) -> str:
    """Return where the metadata stands: before the issuer's own path (RFC 8414 section 3.1)."""
    return _WELL_KNOWN + base_path(issuer)


def jwks_path(issuer: str) -> str:
    """Return where the keys stand."""
    return base_path(issuer) + "/jwks.json"


def token_path(settings: StsSettings) -> str:
    """Return the path of the token endpoint."""
    return urlsplit(settings.token_endpoint).path


def metadata(settings: StsSettings, dpop_algorithms: tuple[str, ...]) -> bytes:
    """Return the metadata as JSON. Members without a value are left out (section 3.2)."""
    types = sorted({kind for rule in settings.rules for kind in rule.authorization_details})
    members: dict[str, Any] = {
        "issuer": settings.issuer,
        "token_endpoint": settings.token_endpoint,
        "jwks_uri": settings.issuer.rstrip("/") + "/jwks.json",
        # Required, and empty: there is no authorization endpoint, nor a grant that would use one.
        "response_types_supported": [],
        "grant_types_supported": [GRANT_TYPE],
        # RFC 8705 section 2.1.1; the client is known by the URI in its certificate.
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "tls_client_certificate_bound_access_tokens": settings.bind is Binding.CERTIFICATE,
        "dpop_signing_alg_values_supported": sorted(dpop_algorithms),
    }
    if types:
        members["authorization_details_types_supported"] = types
    return msgspec.json.encode(members)
