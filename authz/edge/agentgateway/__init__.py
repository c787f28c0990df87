"""agentgateway's MCP guardrails: its messages made into ext_authz checks, and answers back."""

from authz.edge.agentgateway.guardrails import ExtMcp

__all__ = ["ExtMcp"]
