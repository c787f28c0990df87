"""A real agentgateway with the config that we ship, what it asks, and the servers behind it."""
