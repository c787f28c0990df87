"""agentgateway's dialect, its MCP guardrails: messages read as checks, answers as results."""

from authz.edge.agentgateway.guardrails import McpGuardrails

__all__ = ["McpGuardrails"]
