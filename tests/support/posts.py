"""Checks of a POST with a body, as a proxy asks them."""

import json
from typing import Any

from authz._pb import ext_authz_pb2 as pb
from support.world import World, check_request

PATH = "/trips/mcp"


def message(
    world: World, body: Any, *, path: str = PATH, token: str | None = "", **headers: str | None
) -> pb.CheckRequest:
    """Make a check of a POST with a body and a valid token, or another; None for no token."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {
        "content-type": "application/json",
        "content-length": str(len(data)),
        "x-envoy-auth-partial-body": "false",
        "authorization": None if token is None else f"Bearer {token or world.token()}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    pairs = [(name, value) for name, value in sent.items() if value is not None]
    request = check_request(world.svid, pairs, method="POST", path=path, raw_headers=True)
    http = request.attributes.request.http
    http.raw_body, http.size = data, len(data)
    return request
