"""Asks an issuer's introspection endpoint about a token, and keeps the answer (RFC 7662)."""

import logging
import re
import time
from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from typing import Final
from urllib.parse import urlencode

from authz.adapters.circuit_breaker import CircuitBreakers
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import (
    JSON_TYPE,
    DocumentRequest,
    StatusError,
    TooLargeError,
    fetch_document,
    media_type_of,
)
from authz.adapters.introspection.answer import (
    MAX_ANSWER_BYTES,
    SIGNED_TYPE,
    AnswerError,
    SignedReader,
    read_plain,
)
from authz.adapters.introspection.store import AnswerStore, key_of
from authz.adapters.oauth_client import Credential
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
    SharedCalls,
)
from authz.adapters.signing_keys import SigningKeys
from authz.core.choice import Need
from authz.core.delegation import IntrospectionSettings, IssuerSettings
from authz.core.delegation.opaque import IntrospectionAnswer

_FORM: Final = "application/x-www-form-urlencoded"
_SIGNED_OR_JSON: Final = re.compile(f"{re.escape(SIGNED_TYPE)}|{JSON_TYPE.pattern}")
_log: Final = logging.getLogger("authz.introspection")
Count = Callable[[str, "IntrospectionResult", float | None], None]
"""Counts a question to an issuer's endpoint, with its result, and its seconds if it was sent."""


class IntrospectionResult(StrEnum):
    """The results of questions, as metrics count them.

    The first three are results of a call. The others say why there was no call: a call about the
    same token was under way, the breaker was open, too many calls were under way.
    """

    ACTIVE = "active"
    INACTIVE = "inactive"
    FAILURE = "failure"
    SHARED = SHARED
    CUT_OFF = CUT_OFF
    REFUSED = REFUSED


class IntrospectionError(Exception):
    """Signals that an issuer gave no answer about a token; the message is for operators."""


class IntrospectionClient:
    """The client of an issuer's endpoint, by one version of the settings."""

    def __init__(
        self,
        issuer: IssuerSettings,
        settings: IntrospectionSettings,
        keys: SigningKeys,
        store: AnswerStore,
        count: Count,
        *,
        clock: tuple[Callable[[], float], Callable[[], float]] = (time.time, time.monotonic),
    ) -> None:
        """Read the files that the settings name. Raises CredentialError.

        ``count`` is called for each question. ``clock`` is unix seconds, and monotonic seconds.
        """
        name = self._name = issuer.issuer
        self._settings = settings
        self._credential = Credential.read(settings, name)
        self._signed = _signed_reader(issuer, settings, keys)
        self._store = store
        self._wall, self._monotonic = clock
        # Everything that an answer's meaning depends on: answers by other settings are not found.
        self._place = sha256(issuer.model_dump_json().encode()).digest()
        self._breakers = CircuitBreakers(BREAKER_FAILURES, BREAKER_PAUSE_SECONDS)
        self._calls: SharedCalls[str] = SharedCalls(
            f"the introspection endpoint of {name}",
            _log,
            self._breakers,
            lambda result, seconds: count(name, IntrospectionResult(result), seconds),
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

    def get(self, token: str) -> IntrospectionAnswer | None:
        """Return the kept answer about a token, None if there is no such answer. Never waits."""
        return self._store.get(key_of(self._place, token))

    def ask(self, token: str, agent: str, seconds: float) -> None:
        """Ask about a token that this agent sent, and keep the answer: ``get`` then returns it.

        Waits for the answer, ``seconds`` at most. Raises IntrospectionError.
        """
        key = key_of(self._place, token)
        answer = self._store.get(key)
        if answer is not None and answer.answered_at <= self._wall():
            return  # a call that ended after this check's look-up
        seconds = min(seconds, self._settings.timeout)
        if seconds <= 0:
            raise IntrospectionError("no time was left to ask the introspection endpoint")
        try:
            call = self._calls.begin(key, agent, lambda: self._outcome(token, key))
        except NotCalledError as error:
            raise IntrospectionError(str(error)) from None
        if not call.done.wait(seconds):
            raise IntrospectionError("the introspection endpoint did not answer in time")
        if call.value:
            raise IntrospectionError(f"the introspection endpoint: {call.value}")

    def _outcome(self, token: str, key: bytes) -> CallOutcome[str]:
        """Make a call and keep its answer; the value is the reason of a failure, "" for none."""
        asked_at, asked = self._wall(), self._monotonic()
        try:
            answer = self._answer(token, asked_at)
        # An odd answer about one token must not open the breaker for others.
        except (AnswerError, TooLargeError) as error:
            return _failed(f"its answer: {error}", is_failure=False)
        except StatusError as error:
            return _failed(str(error), is_failure=is_failure(error.status))
        except FetchError as error:
            return _failed(str(error))
        self._store.put(key, answer, asked)
        is_active = answer.is_active
        return CallOutcome("", IntrospectionResult.ACTIVE if is_active else _INACTIVE)

    def _answer(self, token: str, asked_at: float) -> IntrospectionAnswer:
        """Send the question, and read the answer. Raises FetchError, AnswerError."""
        settings = self._settings
        deadline = time.monotonic() + settings.timeout
        form = {"token": token, "token_type_hint": "access_token", **self._credential.parameters()}
        response = fetch_document(
            DocumentRequest(
                settings.url,
                MAX_ANSWER_BYTES,
                {"content-type": _FORM, "accept": self._accept(), **self._credential.headers},
                urlencode(form).encode(),
                self._credential.context(),
                allow_any_address=settings.allow_any_address,
                content_type=JSON_TYPE if self._signed is None else _SIGNED_OR_JSON,
            ),
            deadline,
        )
        if self._signed is not None and media_type_of(response.headers) == SIGNED_TYPE:
            return self._signed.read(response.body, asked_at, deadline - time.monotonic())
        if settings.signed is Need.REQUIRED:
            raise AnswerError("it is not signed, and introspection.signed is required")
        return read_plain(response.body, asked_at, settings.max_age)

    def _accept(self) -> str:
        if self._signed is None:
            return "application/json"
        if self._settings.signed is Need.REQUIRED:
            return SIGNED_TYPE
        return f"{SIGNED_TYPE}, application/json;q=0.9"


_INACTIVE: Final = IntrospectionResult.INACTIVE


def _failed(why: str, *, is_failure: bool = True) -> CallOutcome[str]:
    return CallOutcome(why, IntrospectionResult.FAILURE, is_failure)


def _signed_reader(
    issuer: IssuerSettings, settings: IntrospectionSettings, keys: SigningKeys
) -> SignedReader | None:
    """Return the reader of signed answers, None if they could not be verified."""
    if issuer.keys is None or settings.client_id is None:
        return None
    return SignedReader(issuer, settings.client_id, keys, settings.max_age)
