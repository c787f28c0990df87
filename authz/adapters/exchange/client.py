"""Exchanges tokens at an issuer's token endpoint (RFC 8693), once for all equal questions.

A token is renewed in the background when it is used in the last fifth of its life. A refusal is
remembered for ``REFUSED_SECONDS``, so that an agent that repeats a request does not make the issuer
repeat its work. A failed call is not remembered: the circuit breaker is for that.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from hashlib import sha256
from typing import Final

from authz.adapters.circuit_breaker import CircuitBreakers
from authz.adapters.exchange.answer import AnswerError, RefusedError
from authz.adapters.exchange.endpoint import TokenEndpoint
from authz.adapters.exchange.memory import Exchanged, ExchangeMemory, Refused
from authz.adapters.exchange.question import ExchangeQuestion
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import StatusError, TooLargeError
from authz.adapters.oauth_client.failures import (
    BREAKER_FAILURES,
    BREAKER_PAUSE_SECONDS,
    is_failure,
)
from authz.adapters.shared_calls import (
    CUT_OFF,
    REFUSED,
    SHARED,
    CallOutcome,
    NotCalledError,
    PendingCall,
    SharedCalls,
)
from authz.adapters.signing_keys import SigningKeys
from authz.core.delegation import IssuerSettings
from authz.core.delegation.exchange_settings import ExchangeSettings
from authz.core.reason import Denied, Reason

REFUSED_SECONDS: Final = 5.0
_log: Final = logging.getLogger("authz.exchange")
Count = Callable[[str, "ExchangeResult", float | None], None]
"""Counts a question to an issuer's endpoint, with its result, and its seconds if it was sent."""


class ExchangeResult(StrEnum):
    """The results of exchanges, as metrics count them.

    The first four are results of a call: a token, the issuer's refusal, an answer that is not
    accepted, a failure. The others say why there was no call: a call with the same question was
    under way, the breaker was open, too many calls were under way.
    """

    EXCHANGED = "exchanged"
    DENIED = "denied"
    INVALID = "invalid"
    FAILURE = "failure"
    SHARED = SHARED
    CUT_OFF = CUT_OFF
    REFUSED = REFUSED


class ExchangeClient:
    """The client of an issuer's endpoint, by one version of the settings."""

    def __init__(
        self,
        issuer: IssuerSettings,
        settings: ExchangeSettings,
        keys: SigningKeys,
        memory: ExchangeMemory,
        count: Count,
        *,
        clock: tuple[Callable[[], float], Callable[[], float]] = (time.time, time.monotonic),
    ) -> None:
        """Read the files that the settings name. Raises CredentialError.

        ``count`` is called for each question. ``clock`` is unix seconds, and monotonic seconds.
        """
        name = self._name = issuer.issuer
        self.issuer, self.settings = issuer, settings
        self._endpoint = TokenEndpoint(issuer, settings, keys, clock[0])
        self._memory = memory
        self._wall, self._monotonic = clock
        # Everything that an answer's acceptance depends on: those by other settings are not found.
        self.place = sha256(issuer.model_dump_json().encode()).digest()
        self._breakers = CircuitBreakers(BREAKER_FAILURES, BREAKER_PAUSE_SECONDS)
        self._calls: SharedCalls[Exchanged | Refused] = SharedCalls(
            f"the token endpoint of {name}",
            _log,
            self._breakers,
            lambda result, seconds: count(name, ExchangeResult(result), seconds),
            _failed,
        )

    @property
    def is_cut_off(self) -> bool:
        """Tell whether the endpoint is not asked, because it failed."""
        return self._breakers.is_open

    @property
    def calls(self) -> int:
        """The number of calls that are under way."""
        return len(self._calls)

    def remembered(self, question: ExchangeQuestion) -> Exchanged | None:
        """Return the token that was obtained for an equal question, None without one.

        Never waits. A token that will soon end is renewed in the background. Raises Denied if the
        issuer has just refused the same.
        """
        kept = self._usable(question)
        if kept is not None and self._wall() >= kept.renew_at:
            with suppress(NotCalledError):  # what is kept is still good
                self._begin(question)
        return kept

    def exchange(self, question: ExchangeQuestion, seconds: float) -> Exchanged:
        """Return a token for a question, which waits for ``seconds`` at most.

        Raises Denied(EXCHANGE_REFUSED | EXCHANGE_UNAVAILABLE).
        """
        kept = self._usable(question)
        if kept is not None:
            return kept  # from a call that ended after this check's look-up
        seconds = min(seconds, self.settings.timeout)
        if seconds <= 0:
            raise _unavailable("no time was left to exchange the token")
        try:
            call = self._begin(question)
        except NotCalledError as error:
            raise _unavailable(str(error)) from None
        if not call.done.wait(seconds):
            raise _unavailable("the token endpoint did not answer in time")
        if isinstance(call.value, Refused):
            raise call.value.denied()
        return call.value

    def _usable(self, question: ExchangeQuestion) -> Exchanged | None:
        """Return the token that is kept and good by both clocks. Raises Denied."""
        kept = self._memory.get(question.agent, question.key)
        if isinstance(kept, Refused):
            raise kept.denied()
        if kept is None or not kept.asked_at <= self._wall() < kept.good_until:
            return None
        return kept

    def _begin(self, question: ExchangeQuestion) -> PendingCall[Exchanged | Refused]:
        return self._calls.begin(question.key, question.agent, lambda: self._outcome(question))

    def _outcome(self, question: ExchangeQuestion) -> CallOutcome[Exchanged | Refused]:
        """Make a call and keep its outcome, unless it failed."""
        kept = self._memory.get(question.agent, question.key)
        if isinstance(kept, Exchanged) and kept.asked_at <= self._wall() < kept.renew_at:
            return CallOutcome(kept, ExchangeResult.SHARED)  # by a call that has just ended
        asked = self._monotonic()
        outcome = self._asked(question)
        if isinstance(outcome.value, Exchanged):
            ends = asked + outcome.value.good_until - outcome.value.asked_at
        elif outcome.result == ExchangeResult.FAILURE:
            return outcome
        else:
            ends = asked + REFUSED_SECONDS
        self._memory.put(question.agent, question.key, outcome.value, ends)
        return outcome

    def _asked(self, question: ExchangeQuestion) -> CallOutcome[Exchanged | Refused]:
        try:
            return CallOutcome(self._endpoint.exchange(question), ExchangeResult.EXCHANGED)
        except RefusedError as refused:
            return CallOutcome(
                Refused(Reason.EXCHANGE_REFUSED, f"{self._name} refuses the exchange: {refused}"),
                ExchangeResult.DENIED,
            )
        # An odd answer about one token must not open the breaker for others.
        except (AnswerError, TooLargeError) as error:
            return self._without(f"its answer: {error}", ExchangeResult.INVALID)
        except StatusError as error:
            return self._without(str(error), is_failure=is_failure(error.status))
        except FetchError as error:
            return self._without(str(error), is_failure=True)

    def _without(
        self, why: str, result: ExchangeResult = ExchangeResult.FAILURE, *, is_failure: bool = False
    ) -> CallOutcome[Exchanged | Refused]:
        detail = f"the token endpoint of {self._name}: {why}"
        return CallOutcome(Refused(Reason.EXCHANGE_UNAVAILABLE, detail), result, is_failure)


def _failed(why: str) -> CallOutcome[Exchanged | Refused]:
    refused = Refused(Reason.EXCHANGE_UNAVAILABLE, f"the token endpoint: {why}")
    return CallOutcome(refused, ExchangeResult.FAILURE, is_failure=True)


def _unavailable(detail: str) -> Denied:
    return Denied(Reason.EXCHANGE_UNAVAILABLE, detail)
