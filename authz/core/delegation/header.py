"""The check of a token's header by the settings of its issuer."""

from typing import Final

from authz.core.delegation.faults import collect
from authz.core.delegation.settings import IssuerSettings, is_other_media_type
from authz.core.jose.jws import JoseHeader, Jws
from authz.core.reason import Denied, Reason

MAX_KEY_ID_CHARS: Final = 256  # real ids have some 10 to 50; the id becomes a look-up key


def check_kind(jws: Jws) -> None:
    """Refuse a token whose typ is of another kind of token. Raises Denied(TOKEN_TYP)."""
    if is_other_media_type(jws.header.media_type):
        raise Denied(Reason.TOKEN_TYP, "its typ is that of another kind of token")


def check_header(jws: Jws, issuer: IssuerSettings) -> None:
    """Check the header by the issuer's settings (RFC 8725 sections 3.1, 3.11; RFC 7515 4.1).

    Raises Denied(TOKEN_ALG | TOKEN_CRIT | TOKEN_MALFORMED | TOKEN_TYP | TOKEN_KEY_UNKNOWN).
    """
    header = jws.header
    _check_algorithm(header, issuer)
    _check_members(header)
    _check_type(header, issuer)
    _check_key_id(header)


def check_signing_header(header: JoseHeader, issuer: IssuerSettings) -> None:
    """Check the header of another kind of JWT of the issuer: all of it but its type.

    Raises Denied(TOKEN_ALG | TOKEN_CRIT | TOKEN_MALFORMED | TOKEN_KEY_UNKNOWN).
    """
    _check_algorithm(header, issuer)
    _check_members(header)
    _check_key_id(header)


def header_faults(jws: Jws, issuer: IssuerSettings) -> list[Denied]:
    """Return every refusal of ``check_kind`` and ``check_header``, in their order."""
    header = jws.header
    return collect(
        lambda: check_kind(jws),
        lambda: _check_algorithm(header, issuer),
        lambda: _check_members(header),
        lambda: _check_type(header, issuer),
        lambda: _check_key_id(header),
    )


def _check_algorithm(header: JoseHeader, issuer: IssuerSettings) -> None:
    if header.algorithm not in issuer.algorithms:
        raise Denied(Reason.TOKEN_ALG, "its alg is not one of the issuer's algorithms")


def _check_members(header: JoseHeader) -> None:
    if header.is_critical:
        raise Denied(Reason.TOKEN_CRIT, "no critical header member is understood")
    if header.is_foreign:
        raise Denied(Reason.TOKEN_MALFORMED, "encrypted, compressed or nested")


def _check_type(header: JoseHeader, issuer: IssuerSettings) -> None:
    if header.media_type not in issuer.media_types:
        raise Denied(Reason.TOKEN_TYP, "its typ is not one of the issuer's types")


def _check_key_id(header: JoseHeader) -> None:
    key_id = header.members.get("kid")
    if key_id is None:
        raise Denied(Reason.TOKEN_KEY_UNKNOWN, "its header has no kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARS:
        raise Denied(Reason.TOKEN_MALFORMED, "its kid is not a short string")
