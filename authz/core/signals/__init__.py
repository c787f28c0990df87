"""Verifies signals of issuers about their users and sessions, and turns them into revocations.

Security event tokens (RFC 8417) with the events of CAEP and RISC (OpenID Shared Signals Framework
1.0), and logout tokens (OpenID Connect Back-Channel Logout 1.0). ``signed`` has the checks of both,
``security_event`` and ``logout_token`` those of each. ``subjects`` says who is meant, ``events``
what an event means, and ``effects`` what follows.
"""
