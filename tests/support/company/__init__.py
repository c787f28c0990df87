"""A company to test with: its services, agents, people and rules, and what its agents ask."""
