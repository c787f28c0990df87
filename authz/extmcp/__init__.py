"""agentgateway's MCP guardrails: its messages made into ext_authz checks, and answers back."""

from authz.extmcp.edge import ExtMcp

__all__ = ["ExtMcp"]
