"""Finds what a token service recorded of the tokens that it was given."""

from typing import Any

from authz.core.delegation.credential import token_hash
from lab.live_files import whole_records
from lab.sts import TokenService
from support.world import wait_until


def refused(sts: TokenService, token: str) -> dict[str, Any]:
    """Return the record of the last refusal to exchange this token, once it is written."""
    digest = token_hash(token)

    def found() -> list[dict[str, Any]]:
        records = [one for one in whole_records(sts.audit) if one.get("token_hash") == digest]
        return [one for one in records if one["decision"] == "deny"]

    wait_until(found)
    return found()[-1]
