"""Asks a decision point by HTTP, once for all checks that have the same question at a time.

Each call has a thread and the whole of ``timeout`` to itself, however long the checks that wait for
it do. So a hurried check makes no failure of the decision point, and a slow look-up of its name
holds no check beyond its deadline. Nothing is kept between calls.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from authz.adapters.client_credentials import MAX_TOKEN_BYTES, parse_bearer_token
from authz.adapters.files import read_at_rest
from authz.adapters.http_fetch import (
    DocumentRequest,
    FetchError,
    StatusError,
    fetch_document,
    tls_context,
)
from authz.adapters.pdp.circuit_breaker import CircuitBreaker, CircuitOpenError
from authz.adapters.pdp.evaluation import (
    MAX_ANSWER_BYTES,
    PdpPermit,
    build_evaluation,
    is_asked,
    read_answer,
)
from authz.adapters.pdp.settings import PdpSettings
from authz.core.decision import Allow
from authz.core.reason import Denied, Reason
from authz.core.request import Operation
from authz.core.urls import is_plaintext

# Calls under way at once, and those about one agent: a thread or two each. Beyond that the decision
# point is too slow for its questions, and more questions would not make it faster.
MAX_CALLS: Final = 256
MAX_CALLS_OF_ONE: Final = MAX_CALLS // 2
MAX_CA_BYTES: Final = 8 * 1024 * 1024  # all CAs that the web trusts are 0.2
# Statuses that refuse a question but show that the decision point is there: one agent's odd
# requests must not open the breaker for the others. A request that was too slow (408) and too many
# (429) do speak against the decision point.
_ABOUT_THE_QUESTION: Final = frozenset(range(400, 500)) - {408, 429}
_log: Final = logging.getLogger("authz.pdp")


class PdpResult(StrEnum):
    """The results of questions, as metrics count them.

    The first three are results of a call. The others say why there was no call: a call with the
    same question was under way, the breaker was open, too many calls were under way.
    """

    ALLOW = "allow"
    DENY = "deny"
    FAILURE = "failure"
    SHARED = "shared"
    CUT_OFF = "cut_off"
    REFUSED = "refused"


class PdpError(Exception):
    """Signals that a file of the settings can't be used; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class _CallOutcome:
    """The outcome of a call; ``is_failure`` when it speaks against the decision point."""

    verdict: PdpPermit | Denied
    is_failure: bool = False

    @property
    def result(self) -> PdpResult:
        """Return the metric's label."""
        if isinstance(self.verdict, PdpPermit):
            return PdpResult.ALLOW
        is_no = self.verdict.reason is Reason.POLICY_DENIED
        return PdpResult.DENY if is_no else PdpResult.FAILURE


@dataclass(slots=True, eq=False)
class _PendingEvaluation:
    """A call under way: ``verdict`` is its outcome once ``done`` is set."""

    agent: str
    decision_id: str
    done: threading.Event = field(default_factory=threading.Event)
    verdict: PdpPermit | Denied = field(
        default_factory=lambda: _unavailable("the call never ended")
    )


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
        self._count = count
        self._context = None if is_plaintext(settings.url) else _tls_context(settings.ca_file)
        self._headers = {"content-type": "application/json"}
        if settings.token_file is not None:
            self._headers["authorization"] = f"Bearer {_token(Path(settings.token_file))}"
        self._lock = threading.Lock()
        self._breaker = CircuitBreaker(settings.breaker.failures, settings.breaker.pause)
        self._calls: dict[bytes, _PendingEvaluation] = {}

    def status(self) -> PdpStatus:
        """Return the state of the decision point."""
        return PdpStatus(self._breaker.is_open, len(self._calls))

    def confirm(
        self, allow: Allow, operation: Operation, decision_id: str, *, now: float, seconds: float
    ) -> Allow:
        """Return the same allow, for ``ttl`` from ``now`` at most (unix seconds).

        Waits for the answer, ``seconds`` at most. ``decision_id`` is the call's X-Request-ID, so
        that both sides' records can be put together. Raises Denied(POLICY_DENIED |
        PDP_UNAVAILABLE).
        """
        if not is_asked(operation):
            return allow
        seconds = min(seconds, self._settings.timeout)
        if seconds <= 0:
            raise _unavailable("no time was left to ask the decision point")
        question = build_evaluation(allow, operation)
        call = self._call_for(question, allow.agent.spiffe_id.text, decision_id)
        if not call.done.wait(seconds):
            raise _unavailable("the decision point did not answer in time")
        if not isinstance(call.verdict, PdpPermit):  # made anew: other threads may raise it as well
            raise Denied(call.verdict.reason, call.verdict.detail)
        return allow.until(now + self._settings.ttl)

    def _call_for(self, question: bytes, agent: str, decision_id: str) -> _PendingEvaluation:
        """Return the call under way with this question, or a new call.

        Raises Denied(PDP_UNAVAILABLE).
        """
        with self._lock:
            call = self._calls.get(question)
            if call is not None:
                self._count(PdpResult.SHARED, None)
                return call
            self._check_room(agent)
            try:
                self._breaker.admit(time.monotonic())
            except CircuitOpenError:
                self._count(PdpResult.CUT_OFF, None)
                raise _unavailable(
                    "the decision point failed too often and is not asked for now"
                ) from None
            call = self._calls[question] = _PendingEvaluation(agent, decision_id)
        thread = threading.Thread(target=self._make, args=(question, call), name="pdp", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            self._end(
                question,
                call,
                _CallOutcome(_unavailable("no thread could be started"), is_failure=True),
                0.0,
            )
        return call

    def _check_room(self, agent: str) -> None:
        of_agent = sum(call.agent == agent for call in self._calls.values())
        if len(self._calls) >= MAX_CALLS or of_agent >= MAX_CALLS_OF_ONE:
            self._count(PdpResult.REFUSED, None)
            raise _unavailable("too many questions to the decision point at once")

    def _make(self, question: bytes, call: _PendingEvaluation) -> None:
        """Make a call, in its own thread."""
        begun = time.monotonic()
        outcome = self._outcome(question, call.decision_id, begun + self._settings.timeout)
        self._end(question, call, outcome, time.monotonic() - begun)

    def _outcome(self, question: bytes, decision_id: str, deadline: float) -> _CallOutcome:
        headers = {**self._headers, "x-request-id": decision_id}
        ask = DocumentRequest(
            self._settings.url, MAX_ANSWER_BYTES, headers, question, self._context
        )
        try:
            return _CallOutcome(read_answer(fetch_document(ask, deadline).body))
        except Denied as denied:
            return _CallOutcome(denied, is_failure=denied.reason is not Reason.POLICY_DENIED)
        except StatusError as error:
            is_failure = error.status not in _ABOUT_THE_QUESTION
            return _CallOutcome(_unavailable(f"the decision point: {error}"), is_failure=is_failure)
        except FetchError as error:
            return _CallOutcome(_unavailable(f"the decision point: {error}"), is_failure=True)
        except Exception as error:  # noqa: BLE001 - waiting checks and the breaker must be told
            _log.error("a call to the decision point failed: %s", type(error).__name__)
            return _CallOutcome(_unavailable("the call failed: see the log"), is_failure=True)

    def _end(
        self, question: bytes, call: _PendingEvaluation, outcome: _CallOutcome, seconds: float
    ) -> None:
        """Report a call's outcome to the breaker, the metrics, and the waiting checks."""
        with self._lock:
            del self._calls[question]
            was_open = self._breaker.is_open
            if outcome.is_failure:
                self._breaker.failed(time.monotonic())
            else:
                self._breaker.answered()
            is_open = self._breaker.is_open
            self._count(outcome.result, seconds)
        call.verdict = outcome.verdict
        call.done.set()
        if is_open != was_open:
            what = "fails, and is not asked for now" if is_open else "answers again"
            _log.warning("the decision point %s", what)


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
