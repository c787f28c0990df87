"""One request in flight: read from a proxy, decided or remembered, answered, written down.

``service`` is the way of a check, and ``decider`` what it may wait for. A proxy's dialect is a
folder: ``envoy`` is ext_authz, ``agentgateway`` its MCP guardrails.
"""
