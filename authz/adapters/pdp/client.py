"""Asks a decision point by HTTP, once for all concurrent checks with the same question."""

import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from authz.adapters.circuit_breaker import CircuitBreakers
from authz.adapters.client_credentials import MAX_TOKEN_BYTES, parse_bearer_token
from authz.adapters.fetched import FetchError
from authz.adapters.files import read_at_rest
from authz.adapters.http_fetch import DocumentRequest, StatusError, fetch_document, tls_context
from authz.adapters.pdp.evaluation import (
    MAX_ANSWER_BYTES,
    PdpPermit,
    build_evaluation,
    is_asked,
    read_answer,
)
from authz.adapters.pdp.settings import PdpSettings
from authz.adapters.shared_calls import (
    ABOUT_THE_QUESTION,
    CUT_OFF,
    REFUSED,
    SHARED,
    CallOutcome,
    NotCalledError,
    SharedCalls,
)
from authz.core.decision import Allow
from authz.core.reason import Denied, Reason
from authz.core.request import Operation
from authz.core.urls import is_plaintext

MAX_CA_BYTES: Final = 8 * 1024 * 1024  # all CAs that the web trusts are 0.2
_log: Final = logging.getLogger("authz.pdp")


class PdpResult(StrEnum):
    """The results of questions, as metrics count them.

    The first three are results of a call. The others say why there was no call: a call with the
    same question was under way, the breaker was open, too many calls were under way.
    """

    ALLOW = "allow"
    DENY = "deny"
    FAILURE = "failure"
    SHARED = SHARED
    CUT_OFF = CUT_OFF
    REFUSED = REFUSED


class PdpError(Exception):
    """Signals that a file of the settings can't be used; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class PdpStatus:
    """The state of the decision point.

    Attributes:
        is_cut_off: whether it is not asked, because it failed.
        calls: calls to it that are under way.
    """

    is_cut_off: bool
    calls: int


class AuthzenClient:
    """The client of a decision point, by one version of the settings."""

    def __init__(
        self,
        settings: PdpSettings,
        count: Callable[[PdpResult, float | None], None] = lambda *_: None,
    ) -> None:
        """Read the files that the settings name. Raises PdpError.

        ``count`` is called with the result of each question, and the seconds of its call, None if
        there was none.
        """
        self._settings = settings
        self._context = None if is_plaintext(settings.url) else _tls_context(settings.ca_file)
        self._headers = {"content-type": "application/json"}
        if settings.token_file is not None:
            self._headers["authorization"] = f"Bearer {_token(Path(settings.token_file))}"
        self._breakers = CircuitBreakers(settings.breaker.failures, settings.breaker.pause)
        self._calls: SharedCalls[PdpPermit | Denied] = SharedCalls(
            "the decision point",
            _log,
            self._breakers,
            lambda result, seconds: count(PdpResult(result), seconds),
            _failed,
        )

    def status(self) -> PdpStatus:
        """Return the state of the decision point."""
        return PdpStatus(self._breakers.is_open, len(self._calls))

    def confirm(
        self, allow: Allow, operation: Operation, decision_id: str, *, now: float, seconds: float
    ) -> Allow:
        """Return the same allow, for ``ttl`` from ``now`` at most (unix seconds).

        Waits for the answer, ``seconds`` at most. ``decision_id`` is the call's X-Request-ID, so
        that both sides' records can be matched. Raises Denied(POLICY_DENIED | PDP_UNAVAILABLE).
        """
        if not is_asked(operation):
            return allow
        seconds = min(seconds, self._settings.timeout)
        if seconds <= 0:
            raise _unavailable("no time was left to ask the decision point")
        question = build_evaluation(allow, operation)
        agent = allow.agent.spiffe_id.text
        try:
            call = self._calls.begin(question, agent, lambda: self._outcome(question, decision_id))
        except NotCalledError as error:
            raise _unavailable(str(error)) from None
        if not call.done.wait(seconds):
            raise _unavailable("the decision point did not answer in time")
        if not isinstance(call.value, PdpPermit):  # a new error: other threads may raise it as well
            raise Denied(call.value.reason, call.value.detail)
        return allow.until(now + self._settings.ttl)

    def _outcome(self, question: bytes, decision_id: str) -> CallOutcome[PdpPermit | Denied]:
        """Make a call, and return its outcome."""
        deadline = time.monotonic() + self._settings.timeout
        headers = {**self._headers, "x-request-id": decision_id}
        ask = DocumentRequest(
            self._settings.url, MAX_ANSWER_BYTES, headers, question, self._context
        )
        try:
            permit = read_answer(fetch_document(ask, deadline).body)
        except Denied as denied:
            if denied.reason is Reason.POLICY_DENIED:
                return CallOutcome(denied, PdpResult.DENY)
            return CallOutcome(denied, PdpResult.FAILURE, is_failure=True)
        except StatusError as error:
            is_failure = error.status not in ABOUT_THE_QUESTION
            return _failed(f"the decision point: {error}", is_failure=is_failure)
        except FetchError as error:
            return _failed(f"the decision point: {error}")
        return CallOutcome(permit, PdpResult.ALLOW)


def _failed(detail: str, *, is_failure: bool = True) -> CallOutcome[PdpPermit | Denied]:
    return CallOutcome(_unavailable(detail), PdpResult.FAILURE, is_failure)


def _unavailable(detail: str) -> Denied:
    return Denied(Reason.PDP_UNAVAILABLE, detail)


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts a file's CAs, which are read once. Raises PdpError."""
    try:
        if ca_file is not None:
            read_at_rest(ca_file, MAX_CA_BYTES)  # half of a file would be kept until a reload
        return tls_context(ca_file)
    except FetchError as error:
        raise PdpError(str(error)) from None
    except OSError as error:
        raise PdpError(f"ca_file: {error.strerror}") from None


def _token(path: Path) -> str:
    """Read a bearer token from a file. Raises PdpError."""
    try:
        return parse_bearer_token(read_at_rest(path, MAX_TOKEN_BYTES))
    except OSError as error:
        raise PdpError(f"token_file can't be read: {error.strerror}") from None
    except ValueError as error:
        raise PdpError(f"token_file {error}") from None
