"""What a refused decision lacked, if it can be learned and the request decided again.

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


Need = KeyNeeded
"""The closed list of needs; a further kind joins it by ``|``, and has its learner at the edge."""
