"""Envoy external authorization for AI agents: which agent, acting for whom, may do this.

The pipeline is ``authz.core.authorizer``; everything else serves it. Begin reading there.
"""

# The version in pyproject.toml; a test compares the two. Asking the installed distribution for it
# takes longer than everything else that ``authz --version`` does.
__version__ = "0.1.0"
