"""Runs what Istio's control plane sends to proxies, in a stock Envoy in front of agent-authz."""
