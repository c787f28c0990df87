"""The path of one check: read from a proxy, decided or found in the cache, answered, recorded.

``service`` takes a check through these steps, and ``decider`` holds the steps that may wait. Each
proxy's dialect is a folder: ``envoy`` is ext_authz, ``agentgateway`` its MCP guardrails.
"""
