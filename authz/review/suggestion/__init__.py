"""``authz suggest``: proposes a narrower policy from audit records, never wider than they show."""
