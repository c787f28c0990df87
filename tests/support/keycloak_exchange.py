"""What a Keycloak realm needs so that this server can exchange agents' tokens for an upstream's."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lab.keycloak import Realm
from support.keycloak_howto import AGENT, READ


@contextmanager
def exchanging(realm: Realm, gateway: str, upstream: str) -> Iterator[None]:
    """Make our client and the upstream's, and write each into the tokens that lead to it."""
    realm.admin("POST", "/clients", {"clientId": upstream, "bearerOnly": True})
    client = {
        "clientId": gateway,
        "secret": secrets.token_urlsafe(),
        "standardFlowEnabled": False,
        "fullScopeAllowed": False,
        "attributes": {"standard.token.exchange.enabled": "true"},
        "defaultClientScopes": ["basic", "profile"],
        "optionalClientScopes": [READ],
    }
    realm.admin("POST", "/clients", client)
    with ExitStack() as mappers:
        for owner, named in ((AGENT, gateway), (gateway, upstream)):
            given = {"included.client.audience": named}
            mappers.enter_context(realm.with_mapper(owner, "oidc-audience-mapper", given))
        yield
