"""Envoy external authorization for AI agents: which agent, acting for whom, may do this.

The pipeline is ``authz.core.authorizer``; everything else serves it. Begin reading there.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("envoy-agent-authz")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"
