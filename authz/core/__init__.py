"""The decision: who calls, on whose behalf, and may they. Pure, as nothing here does I/O.

Begin at ``authorizer``, which has the order of the checks. ``identity`` establishes the agent,
``delegation`` the principal, ``policy`` the grant; ``request`` is what they read and ``decision``
what they make. ``protocols`` reads messages, ``conditions`` the config's CEL, ``jose`` keys and
tokens, ``spiffe`` IDs and certificates.
"""
