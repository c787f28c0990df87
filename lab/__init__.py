"""A whole agent mesh on loopback, of real parts: for the demo, the end-to-end tests, the benches.

``ca`` makes SVIDs, ``issuer`` makes tokens and serves its keys, ``upstream`` echoes what reaches
it, ``processes`` runs children, ``envoy`` runs the real Envoy with the bootstrap that we ship,
``client`` calls through it with mutual TLS, ``mesh`` puts all of them together. ``trips`` adds
``mcp_server``, an MCP server behind it, which ``mcp_client`` calls; both are the official SDK's.
"""
