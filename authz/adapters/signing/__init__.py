"""Signs our own tokens with keys from files that change over time, and publishes their public keys.

This package's name has the settings alone.
"""

from authz.adapters.signing.settings import SigningKeySettings, SigningSettings

__all__ = ["SigningKeySettings", "SigningSettings"]
