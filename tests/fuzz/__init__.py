"""Hostile inputs against a reference: ``make fuzz``, and for a short while with the tests."""
