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
from urllib.parse import urlencode

import msgspec

from authz.adapters.circuit_breaker import CircuitBreakers
from authz.adapters.client_credentials import read_bearer_token
from authz.adapters.exchange.answer import (
    MAX_ANSWER_BYTES,
    AnswerError,
    RefusedError,
    TokenAnswer,
    read_answer,
    read_refusal,
)
from authz.adapters.exchange.memory import Exchanged, ExchangeMemory, Refused
from authz.adapters.exchange.question import ExchangeQuestion, request_form
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import (
    DocumentRequest,
    StatusError,
    TooLargeError,
    fetch_document,
)
from authz.adapters.oauth_client import Credential
from authz.adapters.shared_calls import (
    ABOUT_THE_QUESTION,
    CUT_OFF,
    REFUSED,
    SHARED,
    CallOutcome,
    NotCalledError,
    PendingCall,
    SharedCalls,
)
from authz.adapters.signing_keys import SigningKeys
from authz.core.base64url import base64url
from authz.core.delegation import IssuerSettings
from authz.core.delegation.exchange_settings import ActorTokenSettings, ExchangeSettings
from authz.core.delegation.exchanged import (
    ExchangeExpected,
    check_exchanged,
    check_exchanged_scopes,
)
from authz.core.jose.jws import parse_compact
from authz.core.needs import KeyNeeded
from authz.core.reason import Denied, Reason

BREAKER_FAILURES: Final = 5  # failures in a row after which the endpoint is not asked
BREAKER_PAUSE_SECONDS: Final = 5.0  # then a single question tests whether it answers again
REFUSED_SECONDS: Final = 5.0
_RENEWED_AFTER: Final = 0.8  # of a token's life
# A token is sent no later than this before its end, so that it is good when it arrives, by the
# upstream's clock too; of a short life a tenth.
_SPARE_SECONDS: Final = 5.0
_SPARE_PART: Final = 0.1
_FORM: Final = "application/x-www-form-urlencoded"
# Statuses whose body may have an error code (RFC 6749 section 5.2; Keycloak refuses with 403).
_EXPLAINED: Final = frozenset({400, 403})
_MAX_ACTOR_BYTES: Final = 16 * 1024
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
        self._credential = Credential.read(settings, name)
        self._keys = keys
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
            return CallOutcome(self._exchanged(question), ExchangeResult.EXCHANGED)
        except RefusedError as refused:
            return CallOutcome(
                Refused(Reason.EXCHANGE_REFUSED, f"{self._name} refuses the exchange: {refused}"),
                ExchangeResult.DENIED,
            )
        # An odd answer about one token must not open the breaker for others.
        except (AnswerError, TooLargeError) as error:
            return self._without(f"its answer: {error}", ExchangeResult.INVALID)
        except StatusError as error:
            # 401 and the like are about our credential, for any question.
            is_failure = error.status not in ABOUT_THE_QUESTION - {401, 403, 404, 405}
            return self._without(str(error), is_failure=is_failure)
        except FetchError as error:
            return self._without(str(error), is_failure=True)

    def _without(
        self, why: str, result: ExchangeResult = ExchangeResult.FAILURE, *, is_failure: bool = False
    ) -> CallOutcome[Exchanged | Refused]:
        detail = f"the token endpoint of {self._name}: {why}"
        return CallOutcome(Refused(Reason.EXCHANGE_UNAVAILABLE, detail), result, is_failure)

    def _exchanged(self, question: ExchangeQuestion) -> Exchanged:
        """Ask, and return the answer's token once it is checked.

        Raises FetchError, AnswerError, RefusedError.
        """
        asked_at, deadline = self._wall(), time.monotonic() + self.settings.timeout
        actor = _actor_token(self.settings.actor_token)
        expected = question.expected
        if actor:
            expected = msgspec.structs.replace(expected, actor=_subject_of(actor))
        answer = self._answer(question, actor, deadline)
        if answer.token == question.token:
            raise AnswerError("it is the client's own token")
        end = self._end(answer, expected, asked_at, deadline)
        life = end - asked_at
        good_until = end - min(_SPARE_SECONDS, life * _SPARE_PART)
        if good_until <= self._wall():
            raise AnswerError("its token has ended, or is about to")
        digest = base64url(sha256(answer.token.encode()).digest())
        return Exchanged(
            answer.token, digest, asked_at, asked_at + life * _RENEWED_AFTER, good_until
        )

    def _answer(self, question: ExchangeQuestion, actor: str, deadline: float) -> TokenAnswer:
        form = {**request_form(question, self.settings), **self._credential.parameters()}
        if actor and self.settings.actor_token is not None:
            form |= {
                "actor_token": actor,
                "actor_token_type": self.settings.actor_token.type.urn,
            }
        response = fetch_document(
            DocumentRequest(
                self.settings.url,
                MAX_ANSWER_BYTES,
                {"content-type": _FORM, **self._credential.headers},
                urlencode(form).encode(),
                self._credential.context(),
                allow_any_address=self.settings.allow_any_address,
                refusals=_EXPLAINED,
            ),
            deadline,
        )
        if response.status in _EXPLAINED:
            raise read_refusal(response.status, response.body)
        return read_answer(response.body, self.settings)

    def _end(
        self, answer: TokenAnswer, expected: ExchangeExpected, asked_at: float, deadline: float
    ) -> float:
        """Check an answer's token, and return when it ends, in unix seconds. Raises AnswerError."""
        ends = [] if answer.seconds is None else [asked_at + answer.seconds]
        is_opaque = answer.token.count(".") != 2 or self.issuer.keys is None  # noqa: PLR2004 - a JWS has two
        try:
            if answer.scopes is not None:
                check_exchanged_scopes(answer.scopes, expected)
            if not is_opaque:
                ends.append(self._verified(answer.token, expected, deadline))
            elif not self.settings.accept_opaque:
                raise AnswerError("its token is opaque, and exchange.accept_opaque is not set")
        except Denied as denied:
            raise AnswerError(f"its token: {denied.detail}") from None
        if not ends:
            raise AnswerError("it does not say when its token ends")
        if min(ends) > asked_at + self.settings.max_lifetime:
            raise AnswerError("its token is good for longer than exchange.max_lifetime")
        return min(ends)

    def _verified(self, token: str, expected: ExchangeExpected, deadline: float) -> float:
        """Verify a token, with a key that may just have been published. Raises Denied."""
        try:
            return check_exchanged(token, expected, self._keys.get(self._name), self._wall())
        except Denied as denied:
            if not isinstance(denied.needs, KeyNeeded):
                raise
            key_id = denied.needs.key_id
        self._keys.refresh(self._name, key_id, max(0.0, deadline - time.monotonic()))
        return check_exchanged(token, expected, self._keys.get(self._name), self._wall())


def _actor_token(settings: ActorTokenSettings | None) -> str:
    """Return the actor token as its file is now, "" without one. Raises FetchError."""
    if settings is None:
        return ""
    try:
        return read_bearer_token(settings.file)
    except FetchError as error:
        raise FetchError(str(error).replace("token_file", "actor_token.file", 1)) from None


def _subject_of(actor_token: str) -> str:
    """Return the subject of our own actor token, whose signature is the issuer's matter.

    Raises FetchError.
    """
    try:
        subject = parse_compact(actor_token, _MAX_ACTOR_BYTES).payload.get("sub")
    except Denied:
        subject = None
    if not isinstance(subject, str) or not subject:
        raise FetchError("actor_token.file must hold a JWT with a sub")
    return subject


def _failed(why: str) -> CallOutcome[Exchanged | Refused]:
    refused = Refused(Reason.EXCHANGE_UNAVAILABLE, f"the token endpoint: {why}")
    return CallOutcome(refused, ExchangeResult.FAILURE, is_failure=True)


def _unavailable(detail: str) -> Denied:
    return Denied(Reason.EXCHANGE_UNAVAILABLE, detail)
