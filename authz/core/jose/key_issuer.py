"""Decides whether a key of a set that several issuers share may be used for an issuer.

A JWK of Entra ID has a member ``issuer``, which no RFC defines. Microsoft obliges validators to use
the key for that issuer alone, since one set holds the keys of work tenants and of personal
accounts.
"""

import re
from typing import Final

TENANT: Final = "{tenantid}"
MAX_NAME_CHARS: Final = 2048  # as of any URL of the config
_URL: Final = re.compile(r"https?://([^/]+)(/.*)?")
_TENANT_TEXT: Final = "([A-Za-z0-9._-]{1,255})"  # a GUID, or a domain name
# Entra's tokens of version 1 have an issuer of their own, and the keys of version 2.
_VERSION_1: Final = re.compile(rf"https://sts\.windows\.net/{_TENANT_TEXT}/")
_VERSION_2: Final = (
    "https://login.microsoftonline.com/{}/v2.0",
    "https://login.microsoftonline.us/{}/v2.0",
)
# In Entra's URLs, these stand in a tenant's place for all tenants of a kind; no token's iss has
# them.
_OF_MANY: Final = re.compile(
    r"https://(login\.microsoftonline\.(com|us)|sts\.windows\.net)"
    r"/(common|organizations|consumers)(/.*)?"
)


def is_of_many_tenants(issuer: str) -> bool:
    """Tell whether an issuer's URL stands for many tenants: no token has it as its iss."""
    return TENANT in issuer or _OF_MANY.fullmatch(issuer) is not None


def is_for_issuer(named: object, issuer: str) -> bool:
    """Tell whether a key whose ``issuer`` member is ``named`` may be used for an issuer.

    A name allows the issuer of that name, and at Entra that tenant's issuer of version 1. A
    template, in which ``{tenantid}`` stands for one segment of the path, allows any tenant's
    issuer. It applies to issuers with its host or the form of its path. It does not restrict
    others: for those, the config vouches by naming the set.
    """
    if not isinstance(named, str) or len(named) > MAX_NAME_CHARS:
        return False
    if TENANT not in named:
        return named in {issuer, *_as_version_2(issuer)}
    template, given = _URL.fullmatch(named), _URL.fullmatch(issuer)
    if template is None or given is None:
        return False
    if _is_of(named, issuer):
        return True
    return not (_is_of(template[1], given[1]) or _is_of(template[2] or "", given[2] or ""))


def _is_of(template: str, text: str) -> bool:
    """Tell whether a text is the template, for one and the same tenant in all its places."""
    first, *rest = map(re.escape, template.split(TENANT))
    pattern = first + "".join(
        (r"\1" if at else _TENANT_TEXT) + part for at, part in enumerate(rest)
    )
    return re.fullmatch(pattern, text) is not None


def _as_version_2(issuer: str) -> list[str]:
    """Return the names of an issuer of Entra's version 1 in version 2."""
    match = _VERSION_1.fullmatch(issuer)
    return [] if match is None else [name.format(match[1]) for name in _VERSION_2]
