"""What the verbs about revocations share: where these are kept, and how they are shown.

``sources`` are the revocation file and the store, ``known`` the names of a config, and ``shown``
the words of an entry.
"""
