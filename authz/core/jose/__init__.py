"""Signed tokens and the keys that verify them (RFC 7515, RFC 7517): read strictly, no I/O.

The package itself offers the settings, and loads no more: ``jwk`` reads keys, ``jws`` tokens.
"""

from authz.core.jose.settings import KeySettings

__all__ = ["KeySettings"]
