"""agentgateway's dialect, its MCP guardrails: its messages, made into checks, and results back."""

from authz.edge.agentgateway.guardrails import ExtMcp

__all__ = ["ExtMcp"]
