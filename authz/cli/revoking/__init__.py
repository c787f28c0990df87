"""Helps the verbs about revocations: reads and writes the sources, and shows entries.

``sources`` are the revocation file and the store, ``known`` the names of a config, and ``shown``
the words of an entry.
"""
