"""agentgateway's dialect, its MCP guardrails: its messages, made into checks, and results back."""

from authz.edge.agentgateway.guardrails import McpGuardrails

__all__ = ["McpGuardrails"]
