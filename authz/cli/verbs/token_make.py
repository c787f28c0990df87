"""``authz token make``: signs a delegation token for trying."""

import argparse
import time
from datetime import UTC, datetime

from authz.cli.common import FAILED, FINE, complain
from authz.starter.errors import StarterError
from authz.starter.issuer import read_issuer
from authz.starter.tokens import TokenRequest, make_token


def run(options: argparse.Namespace) -> int:
    """Print a token, and return the exit status."""
    now = time.time()
    request = TokenRequest(
        agent=options.agent,
        principal=options.principal,
        scopes=tuple(options.scope.split()),
        groups=tuple(options.group),
        audience=options.audience,
        lifetime_seconds=options.lifetime,
    )
    try:
        token = make_token(read_issuer(options.folder), request, now)
    except StarterError as error:
        complain(f"authz: {error}")
        return FAILED
    print(f"Authorization: Bearer {token}" if options.header else token)
    ends_at = datetime.fromtimestamp(now + options.lifetime, UTC)
    whose = "nobody acts yet for" if request.agent is None else f"{request.agent} acts for"
    complain(
        f"authz: a token for trying: {whose} {request.principal}, "
        f"scope {options.scope or 'none'}, until {ends_at:%H:%M:%S} UTC"
    )
    return FINE
