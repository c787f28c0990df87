"""The marks that identify keys and issuers made for trying, wherever they are used."""

from typing import Final

from authz.core import strict_json

TRY_OUT_ISSUER: Final = "https://issuer.invalid"  # no DNS name ends so (RFC 6761 section 6.4)
KEY_ID_PREFIX: Final = "try-out-"
MADE_BY: Final = "authz init, for trying"


def has_try_out_key(document: bytes) -> bool:
    """Tell whether a JWK Set has a key that ``authz init`` made; an invalid set has none."""
    try:
        parsed = strict_json.loads(document)
    except strict_json.StrictJsonError:
        return False
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    kids = (jwk.get("kid") for jwk in listed or () if isinstance(jwk, dict))
    return isinstance(listed, list) and any(
        isinstance(kid, str) and kid.startswith(KEY_ID_PREFIX) for kid in kids
    )
