"""Joins the revocations of all sources: the file, and the store that replicas share.

``sources`` joins them for the checks, ``store_source`` follows the store, and ``listing`` compares
what the store lists with what is known.
"""
