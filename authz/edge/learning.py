"""Decides again after learning a fact that the decision lacked, within the caller's deadline.

A step of the pipeline that lacks a fact names it in its refusal (``Denied.needs``). Each kind of
need has a learner, which may wait on the network: for a newly published key, an issuer's answer
about an opaque token (RFC 7662), or a status list. A store that replicas share is no learner: an
allow consumes there (``authz.edge.consuming``), which is done once. The rules are the same for all:

- A learner gets the rest of the caller's deadline less a margin for the answer's way back, and
  never more than its own ``max_seconds``.
- A waiting check has a place in the bulkhead, which has a total limit and a limit for each agent;
  without a place the refusal is OVERLOADED.
- If a learner learns nothing, the first refusal stays. If it fails, the refusal stays too, and the
  refusal and a log line say why.
- Each need is learned once for a decision, and a decision takes ``MAX_ROUNDS`` of them at most.
"""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from authz.adapters.introspection import IntrospectionError
from authz.adapters.status_lists import StatusFetchError
from authz.core.bounded_map import Generation
from authz.core.decision import Decision, Deny, Progress
from authz.core.delegation import MAX_TIMEOUT_SECONDS
from authz.core.needs import IntrospectionNeeded, KeyNeeded, Need, StatusListNeeded
from authz.core.reason import Denied, Reason
from authz.edge.bulkhead import Bulkhead, BulkheadFullError
from authz.edge.clock import TimeRemaining
from authz.edge.waits import Waits, waiting

# The part of the caller's deadline that is reserved for the answer's way back.
ANSWER_MARGIN_SECONDS: Final = 0.05
# The longest wait for a key that may just have been published, even if the caller allows more.
MAX_KEY_WAIT_SECONDS: Final = 2.0
# More than any token needs; each round decides again, and verifies the signature.
MAX_ROUNDS: Final = 3
_log: Final = logging.getLogger("authz.service")
_Needed_contra = TypeVar("_Needed_contra", contravariant=True)


class LearnError(Exception):
    """Signals that a need could not be learned; the message says why, and holds nothing secret."""


class Learner(Protocol[_Needed_contra]):
    """Learns needs of one kind. Many threads may ask at once, also for the same need."""

    @property
    def name(self) -> str:
        """Return the name of the facts that checks wait for, in the plural, for operators."""

    @property
    def max_seconds(self) -> float:
        """Return the longest wait, even if the caller allows more."""

    def learn(self, need: _Needed_contra, seconds: float) -> bool:
        """Learn a need, and return whether the decision may now be different.

        Returns within ``seconds``; at zero it only looks up known facts. After it returns True, the
        pipeline finds the learned fact; the decision may still be the same. Raises LearnError if it
        could not even be tried.
        """


class KeyRefresher(Generation, Protocol):
    """The key store as the edge uses it: it waits within the timeout, and never raises for a fetch.

    It does not promise that a key is found.
    """

    def refresh(self, issuer: str, key_id: str, timeout_seconds: float) -> bool:
        """Fetch for an unknown key, once for all callers; return True if it is known now."""


class KeyLearner:
    """Learns keys that may just have been published."""

    name: Final = "keys"

    def __init__(self, keys: KeyRefresher) -> None:
        """Take the key store, which fetches."""
        self._keys = keys

    @property
    def max_seconds(self) -> float:
        """Return ``MAX_KEY_WAIT_SECONDS``."""
        return MAX_KEY_WAIT_SECONDS

    def learn(self, need: KeyNeeded, seconds: float) -> bool:
        """Learn a key of an issuer, as ``Learner.learn``."""
        return self._keys.refresh(need.issuer, need.key_id, seconds)


class Introspector(Protocol):
    """The introspection endpoints as the edge uses them."""

    def ask(self, need: IntrospectionNeeded, seconds: float) -> bool:
        """Ask for a needed answer, once for all callers; return whether it may now be known.

        Waits ``seconds`` at most. Raises IntrospectionError if there is no answer.
        """


class IntrospectionLearner:
    """Learns what opaque tokens mean, from their issuers."""

    name: Final = "introspection answers"

    def __init__(self, introspections: Introspector) -> None:
        """Take the endpoints, each of which has a timeout of its own."""
        self._introspections = introspections

    @property
    def max_seconds(self) -> float:
        """Return the longest timeout that an endpoint may have."""
        return MAX_TIMEOUT_SECONDS

    def learn(self, need: IntrospectionNeeded, seconds: float) -> bool:
        """Learn an answer, as ``Learner.learn``. Raises LearnError."""
        try:
            return self._introspections.ask(need, seconds)
        except IntrospectionError as error:
            raise LearnError(str(error)) from None


class StatusListFetcher(Protocol):
    """The issuers' status lists as the edge uses them."""

    def ask(self, need: StatusListNeeded, seconds: float) -> bool:
        """Fetch a needed list, once for all callers; return whether it may now be known.

        Waits ``seconds`` at most. Raises StatusFetchError if it can't be had.
        """


class StatusListLearner:
    """Learns status lists that were never fetched, or have ended."""

    name: Final = "status lists"

    def __init__(self, lists: StatusListFetcher) -> None:
        """Take the lists, each issuer's with a timeout of its own."""
        self._lists = lists

    @property
    def max_seconds(self) -> float:
        """Return the longest timeout that a fetch may have."""
        return MAX_TIMEOUT_SECONDS

    def learn(self, need: StatusListNeeded, seconds: float) -> bool:
        """Learn a list, as ``Learner.learn``. Raises LearnError."""
        try:
            return self._lists.ask(need, seconds)
        except StatusFetchError as error:
            raise LearnError(str(error)) from None


class Learning:
    """Decides with a learner for each kind of need."""

    def __init__(self, learners: Mapping[type[Need], Learner[Any]], bulkhead: Bulkhead) -> None:
        """Take the learners, by the needs that they learn, and the places to wait."""
        self._learners = learners
        self._bulkhead = bulkhead

    def can_improve(self, deny: Deny) -> bool:
        """Tell whether a refusal may become another decision if a learner is asked."""
        return deny.needs is not None and type(deny.needs) in self._learners

    def improve(
        self,
        deny: Deny,
        decide_again: Callable[[], Decision],
        time_remaining: TimeRemaining,
        waits: Waits | None = None,
    ) -> Decision:
        """Decide again as long as the decision is a refusal whose need can be learned.

        ``waits`` keeps what was waited for, None if nobody reads it.
        """
        decision: Decision = deny
        tried: set[Need] = set()
        while isinstance(decision, Deny) and decision.needs is not None:
            need = decision.needs
            learner = self._learners.get(type(need))
            if learner is None or need in tried or len(tried) >= MAX_ROUNDS:
                break
            tried.add(need)
            still = self._unlearned(learner, need, decision, time_remaining, waits)
            if still is not None:
                return still
            decision = decide_again()
        return decision

    def _unlearned(
        self,
        learner: Learner[Any],
        need: Need,
        deny: Deny,
        time_remaining: TimeRemaining,
        waits: Waits | None,
    ) -> Deny | None:
        """Return the refusal that stays, None if the need was learned."""
        try:
            with waiting(waits, learner.name, need.issuer):
                is_learned = self._learn(learner, need, deny, time_remaining)
        except BulkheadFullError:
            return _no_place(deny, learner)
        except LearnError as error:
            _log.warning("%s can't be learned: %s", learner.name, error)
            return deny.explained(str(error))
        except Exception as error:  # noqa: BLE001 - a learner's fault is never an allow
            kind = type(error).__name__  # only the type: its text could hold a secret
            _log.error("%s can't be learned: %s", learner.name, kind)
            return deny.explained(f"internal error: {kind}")
        return None if is_learned else deny

    def _learn(
        self, learner: Learner[Any], need: Need, deny: Deny, time_remaining: TimeRemaining
    ) -> bool:
        agent = deny.agent.spiffe_id.text if deny.agent else ""
        seconds = min(seconds_to_wait(time_remaining), learner.max_seconds)
        with self._bulkhead.waiting(agent):
            return learner.learn(need, max(0.0, seconds))


def seconds_to_wait(time_remaining: TimeRemaining) -> float:
    """Return the seconds that others may take, so that the caller still gets an answer."""
    remaining = time_remaining()
    return math.inf if remaining is None else remaining - ANSWER_MARGIN_SECONDS


def _no_place(deny: Deny, learner: Learner[Any]) -> Deny:
    detail = f"too many requests wait for {learner.name}"
    return Progress(agent=deny.agent).refuse(Denied(Reason.OVERLOADED, detail))
