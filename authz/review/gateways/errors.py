"""The error of a config for which no proxy's config can be made."""

from authz.core.told_error import ToldError


class GatewayError(ToldError):
    """Says what the config lacks for this kind of proxy, and what would be right."""
