"""Joins the revocations of all sources: the file, and the store that replicas share.

``sources`` joins them for the checks, ``stored`` follows the store, and ``listing`` compares
what the store lists with what is known.
"""
