"""The consents of principals, which the token service asks for: in a file, and in the store.

``sources`` joins the two, ``file`` and ``stored`` read them. This package's name has the settings
alone.
"""

from authz.adapters.consents.settings import ConsentSettings

__all__ = ["ConsentSettings"]
