"""Asks a transmitter for security events again and again (RFC 8936), in a thread of its own.

An event is acknowledged only when what it revokes is written. What could not be taken is asked for
again: the transmitter keeps it.
"""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from authz.adapters.client_credentials import CertificateContext, read_bearer_token
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import DocumentRequest, fetch_document, tls_context
from authz.adapters.signals.intake import (
    Intake,
    NotVerifiedYetError,
    Party,
    SignalDelayedError,
)
from authz.adapters.signals.settings import PollSettings
from authz.core import strict_json
from authz.core.signals.errors import SignalError
from authz.core.signals.signed import MAX_TOKEN_BYTES
from authz.core.urls import is_plaintext

MAX_EVENTS: Final = 16  # an answer has; the transmitter says whether there are more
MAX_ANSWER_BYTES: Final = MAX_EVENTS * MAX_TOKEN_BYTES + 64 * 1024
MAX_PAUSE_SECONDS: Final = 60.0  # after failures in a row
# Before an answer is asked for that has more events: an endless stream of them must leave the
# processor to checks.
MIN_PAUSE_SECONDS: Final = 0.1
JITTER: Final = 0.1
_random: Final = random.Random()  # noqa: S311 - no secret
_log: Final = logging.getLogger("authz.signals")


class _Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What we tell of events that came: a request's ``ack`` and ``setErrs`` (section 2.2)."""

    ack: tuple[str, ...] = ()
    setErrs: dict[str, dict[str, str]] = {}  # noqa: N815 - as on the wire


class _Answer(msgspec.Struct, frozen=True):
    """A response (section 2.3): tokens by their ``jti``."""

    sets: dict[str, str]
    moreAvailable: bool = False  # noqa: N815 - as on the wire


class SignalPoller:
    """Polls a transmitter."""

    def __init__(
        self,
        settings: PollSettings,
        party: Party,
        intake: Intake,
        polled: Callable[[bool], None],
    ) -> None:
        """Take the transmitter, and what takes its events; ``polled`` is told of each answer."""
        self._settings = settings
        self._party = party
        self._intake = intake
        self._polled = polled
        self._told = _Told()
        self._failures = 0
        self._stopping = threading.Event()
        self._certificate = (
            None if settings.tls is None else CertificateContext(settings.tls, settings.ca_file)
        )

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._run, name="signals-poll", daemon=True).start()

    def close(self) -> None:
        """Stop asking. A request under way ends by its own time."""
        self._stopping.set()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = self._poll()
            except Exception as error:  # noqa: BLE001 - the next poll may succeed
                _log.error("can't poll %s: %s", self._name, type(error).__name__)
                pause = self._failed()

    @property
    def _name(self) -> str:
        return self._party.sender.issuer

    def _poll(self) -> float:
        """Ask once, and take what comes; return the seconds until the next time."""
        begun = time.monotonic()
        try:
            answer = self._asked()
        except FetchError as error:
            if not self._failures:  # once an outage
                _log.error("can't poll %s for events: %s", self._name, error)
            return self._failed()
        self._polled(True)
        self._told, is_written = self._taken(answer)
        if not is_written:
            return self._failed(is_answered=True)
        self._failures = 0
        told = len(self._told.ack) + len(self._told.setErrs)
        if answer.sets and told == len(answer.sets):
            return MIN_PAUSE_SECONDS  # they are acknowledged soon: until then they may come again
        # A transmitter that was asked to hold the request, and did, is asked again at once.
        held = time.monotonic() - begun if self._settings.hold > 0 else 0.0
        return _around(max(MIN_PAUSE_SECONDS, self._settings.interval - held))

    def _failed(self, *, is_answered: bool = False) -> float:
        if not is_answered:
            self._polled(False)
        self._failures += 1
        doubled = self._settings.interval * 2.0 ** min(self._failures - 1, 16)
        return _around(min(doubled, max(MAX_PAUSE_SECONDS, self._settings.interval)))

    def _asked(self) -> _Answer:
        """Return the answer to a request. Raises FetchError."""
        settings = self._settings
        body = {
            "maxEvents": MAX_EVENTS,
            "returnImmediately": settings.hold == 0,
            **msgspec.to_builtins(self._told),
        }
        headers = {"content-type": "application/json"}
        if settings.token_file is not None:
            headers["authorization"] = f"Bearer {read_bearer_token(settings.token_file)}"
        request = DocumentRequest(
            settings.url,
            MAX_ANSWER_BYTES,
            headers,
            msgspec.json.encode(body),
            self._context(),
            allow_any_address=settings.allow_any_address,
        )
        deadline = time.monotonic() + settings.hold + settings.timeout
        return _read(fetch_document(request, deadline).body)

    def _context(self) -> ssl.SSLContext | None:
        if is_plaintext(self._settings.url):
            return None
        if self._certificate is not None:
            return self._certificate.get()
        return tls_context(self._settings.ca_file)

    def _taken(self, answer: _Answer) -> tuple[_Told, bool]:
        """Take the events; return what to tell of them, and whether they could be written."""
        acknowledged: list[str] = []
        refused: dict[str, dict[str, str]] = {}
        for jti, text in answer.sets.items():
            try:
                self._intake.take_event_token(partial(str, text), self._party, jti)
            except SignalError as error:
                refused[jti] = {"err": str(error.fault), "description": str(error)}
            except NotVerifiedYetError:  # the others may be good
                continue
            except SignalDelayedError:  # what the next ones revoke could not be written either
                return _Told(tuple(acknowledged), refused), False
            except Exception as error:  # noqa: BLE001 - likewise: none must keep back the others
                _log.error("can't take an event of %s: %s", self._name, type(error).__name__)
            else:
                acknowledged.append(jti)
        return _Told(tuple(acknowledged), refused), True


def _read(body: bytes) -> _Answer:
    """Read an answer, of at most MAX_EVENTS. Raises FetchError."""
    try:
        answer = strict_json.load_as(body, _Answer)
    except strict_json.StrictJsonError as error:
        raise FetchError(f"its answer: {error}") from None
    if len(answer.sets) > MAX_EVENTS:
        raise FetchError(f"its answer has more than {MAX_EVENTS} events, which were asked for")
    return answer


def _around(seconds: float) -> float:
    """Return about these seconds, so that replicas do not ask at the same time."""
    return seconds * _random.uniform(1 - JITTER, 1 + JITTER)
