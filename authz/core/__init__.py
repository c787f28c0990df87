"""The decision: who calls, on whose behalf, and may they. Pure: nothing here does I/O.

Begin at ``authorizer``, which has the order of the checks. ``identity`` establishes the agent,
``delegation`` the principal, ``policy`` the permit. ``request`` is their input, ``decision`` their
output. ``protocols`` reads messages, ``conditions`` evaluates the config's CEL, ``jose`` reads keys
and tokens, ``spiffe`` IDs and certificates.
"""
