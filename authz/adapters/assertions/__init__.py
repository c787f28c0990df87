"""Signs assertions of decisions for upstreams. This package's name has the settings alone."""

from authz.adapters.assertions.settings import AssertionSettings, assertion_header

__all__ = ["AssertionSettings", "assertion_header"]
