"""The facts that a refused decision lacked, if they can be fetched and the request decided again.

The core learns nothing itself. A step that lacks something names it in its refusal, and the edge,
which may wait on the network, learns it within the caller's deadline (``authz.edge.learning``).
"""

import msgspec


class KeyNeeded(msgspec.Struct, frozen=True, gc=False):
    """A key that is missing in its issuer's set, and may just have been published.

    Attributes:
        issuer: a configured issuer.
        key_id: the ``kid`` that was not found.
    """

    issuer: str
    key_id: str


class IntrospectionNeeded(msgspec.Struct, frozen=True, gc=False):
    """An issuer's answer about an opaque token, if the answer is unknown or too old.

    Attributes:
        issuer: a configured issuer with introspection.
        token: the token itself, which the issuer has to be asked about: a secret.
        agent: the SPIFFE ID of the agent that sent it.
    """

    issuer: str
    token: str
    agent: str

    def __repr__(self) -> str:
        """Return no token, so that no log line can hold one."""
        return f"IntrospectionNeeded(issuer={self.issuer!r})"


class StatusListNeeded(msgspec.Struct, frozen=True, gc=False):
    """A status list that a token names, if the list is unknown or too old.

    Attributes:
        issuer: a configured issuer with status lists.
        uri: where the list is: one of the configured places.
    """

    issuer: str
    uri: str


Need = KeyNeeded | IntrospectionNeeded | StatusListNeeded
"""The closed list of needs. Join a further kind by ``|``, and give it a learner at the edge."""
