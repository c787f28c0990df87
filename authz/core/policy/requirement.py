"""The form of a rule's requirements: what each answers, and for how long its answer is valid."""

from abc import ABC, abstractmethod
from math import inf
from typing import ClassVar

from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.reads import Reads


class Requirement(ABC):
    """A single requirement of a rule.

    Guarantees that its answer depends on the query alone, and on no header or claim that ``reads``
    lacks. Input of a client or an issuer never makes it raise: unreadable input is unmet in an
    allow and met in a deny. Does not guarantee an order of checks, nor any caching.
    """

    __slots__ = ()
    is_of_caller: ClassVar[bool] = False
    """Whether the answer depends on the delegation's terms alone, not on the operation and the
    time."""

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """The headers of the request and the claims of the token that it reads."""

    @abstractmethod
    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return what is unmet; None if the requirement is met.

        Raises UndeclaredReadError for a header that no part of the policy declares.
        """

    @abstractmethod
    def stable_until(self, query: PolicyQuery) -> float:
        """Return unix seconds until which ``unmet`` surely returns the same. Raises nothing."""


class Timeless(Requirement):
    """A requirement whose answer does not change with time."""

    __slots__ = ()

    def stable_until(self, _: PolicyQuery) -> float:
        """Return infinity."""
        return inf
