"""Receivers on the network of what this server tells: HTTP servers, and collectors by OTLP.

``http_receiver`` posts, ``otlp`` exports over gRPC or HTTP; what both share is in ``receiver``.
"""
