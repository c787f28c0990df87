"""Envoy external authorization for AI agents: which agent, acting for whom, may do this.

The pipeline is ``authz.core.authorizer``; everything else serves it. Begin reading there.
"""

# That of pyproject.toml, which a test holds it to: to ask the installed distribution for it takes
# longer than all else that ``authz --version`` does.
__version__ = "0.1.0"
