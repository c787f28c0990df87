"""What a condition may read: names, types and meanings. The reference page is made from it.

There is no clock, so that a remembered decision stays right; and no token, signature or key.
"""

from collections.abc import Mapping
from typing import Final

VARIABLES: Final[Mapping[str, tuple[str, str]]] = {
    "agent.id": ("string", "the agent's SPIFFE ID"),
    "agent.trust_domain": ("string", "its trust domain, such as `corp.example`"),
    "agent.path": ("list<string>", 'the segments of its path: `["ns", "agents", "sa", "buyer"]`'),
    "principal.id": ("string", "for whom the agent acts: the token's `sub`; empty without a token"),
    "principal.issuer": ("string", "who vouches for that; an id is unique only with its issuer"),
    "claims": ("map<string, dyn>", "the token's verified claims; empty without a token"),
    "delegation.mode": ("string", '`"act"`, `"mapped"`, `"autonomous"` or `"bootstrap"`'),
    "delegation.scopes": ("list<string>", "the token's scopes, in alphabetical order"),
    "delegation.actors": ("list<string>", "subjects of the actors: the current one, then earlier"),
    "delegation.depth": ("int", "how many actors there are"),
    "request.method": ("string", "upper case, such as `GET`"),
    "request.host": ("string", "lower case, without a port"),
    "request.path": ("string", "the decoded path, without the query: `/orders/17`"),
    "request.segments": ("list<string>", 'its segments: `["orders", "17"]`'),
    "request.headers": (
        "map<string, string>",
        "the headers that the config lists for conditions, by lower-case name; never a credential",
    ),
}
# A client can make these as long as its token or its path, so a loop over one reads no other.
LONG: Final = frozenset(
    {
        "agent.path",
        "claims",
        "delegation.actors",
        "delegation.scopes",
        "request.headers",
        "request.path",
        "request.segments",
    }
)
