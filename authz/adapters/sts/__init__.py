"""The HTTP server of the token service (``authz sts``): connections, requests and their limits.

What a token request means is decided elsewhere; this package only carries it.
"""
