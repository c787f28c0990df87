"""Forges tokens of others': without a signature, or with that of other claims."""

import json
from collections.abc import Mapping
from typing import Any

from lab.issuer import b64, claims_of


def unsigned(claims: Mapping[str, Any], typ: str = "at+jwt") -> str:
    """Return a token without a signature (RFC 7515 appendix A.5)."""
    header = {"alg": "none", "typ": typ}
    return ".".join([*(b64(json.dumps(part).encode()) for part in (header, claims)), ""])


def altered(token: str, **changes: object) -> str:
    """Return a token with other claims, which keeps its signature."""
    header, _, signature = token.split(".")
    claims = {**claims_of(token), **changes}
    return ".".join([header, b64(json.dumps(claims).encode()), signature])
