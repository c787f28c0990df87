"""The variables of conditions: names, types and meanings. The reference page is made from these.

There is no clock, so that a cached decision stays right; and no token, signature or key.
"""

from collections.abc import Mapping
from typing import Final

ARGUMENTS: Final = "operation.arguments"
NAME: Final = "operation.name"
CLAIMS: Final = "claims"
HEADERS: Final = "request.headers"
VARIABLES: Final[Mapping[str, tuple[str, str]]] = {
    "agent.id": ("string", "the agent's SPIFFE ID"),
    "agent.trust_domain": ("string", "its trust domain, such as `corp.example`"),
    "agent.path": ("list<string>", 'the segments of its path: `["ns", "agents", "sa", "buyer"]`'),
    "principal.id": (
        "string",
        "the principal that the agent acts for: the token's `sub`; empty without a token",
    ),
    "principal.issuer": (
        "string",
        "the issuer of the token; a principal's id is unique only within its issuer",
    ),
    CLAIMS: (
        "map<string, dyn>",
        "the token's verified claims that the config lists; empty without a token",
    ),
    "delegation.mode": ("string", '`"act"`, `"mapped"`, `"autonomous"` or `"bootstrap"`'),
    "delegation.scopes": ("list<string>", "the token's scopes, in alphabetical order"),
    "delegation.actors": (
        "list<string>",
        "the subjects of the actors: first the current actor, then earlier actors",
    ),
    "delegation.depth": ("int", "how many actors there are"),
    "request.method": ("string", "upper case, such as `GET`"),
    "request.host": ("string", "lower case, without a port"),
    "request.path": (
        "string",
        "the decoded path, without the query: `/orders/17`; `/ % ? #` within a segment escaped",
    ),
    "request.segments": ("list<string>", 'its segments: `["orders", "17"]`'),
    HEADERS: (
        "map<string, string>",
        "the headers that the config lists for conditions, by lower-case name; never a credential",
    ),
    "operation.protocol": (
        "string",
        '`"mcp"`, `"a2a"` or `"openai"`; empty for a plain request, as all below',
    ),
    "operation.method": ("string", "such as `tools/call`; of a model call such as `embeddings`"),
    "operation.kind": (
        "string",
        'of what is called: `"tool"`, `"resource"`, `"prompt"`, `"task"`, `"skill"`, `"model"`',
    ),
    NAME: (
        "string",
        "of what is called: the tool's name, the resource's URI; no value where it can't be read",
    ),
    ARGUMENTS: (
        "map<string, dyn>",
        "of a tool, a prompt, a model call; no value where they are not known",
    ),
    "operation.tools": ("list<string>", "names of the tools that a model call offers"),
    "operation.streaming": ("bool", "whether a model call asks for a stream"),
}
# A client can make these long, by its token, path or message: so no loop may use them inside.
LONG: Final = frozenset(
    {
        "agent.path",
        CLAIMS,
        "delegation.actors",
        "delegation.scopes",
        ARGUMENTS,
        "operation.method",
        "operation.name",
        "operation.tools",
        HEADERS,
        "request.path",
        "request.segments",
    }
)
