"""Proves that an audit log is complete and unchanged, and proves single records of it."""
