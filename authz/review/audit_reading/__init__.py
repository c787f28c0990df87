"""Reads audit logs for people: finds records by filters, follows logs, shows and counts records."""
