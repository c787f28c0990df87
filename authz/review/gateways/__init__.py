"""Makes the config of a proxy that asks this server: of agentgateway, and of Envoy."""
