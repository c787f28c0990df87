"""Writes the report of some audit logs for a reviewer, as one HTML file."""
