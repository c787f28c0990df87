"""Asks a token endpoint for a token (RFC 8693), and checks what it answers. Keeps nothing."""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final
from urllib.parse import urlencode

import msgspec

from authz.adapters.client_credentials import read_bearer_token
from authz.adapters.exchange.answer import (
    MAX_ANSWER_BYTES,
    AnswerError,
    TokenAnswer,
    read_answer,
    read_refusal,
)
from authz.adapters.exchange.memory import Exchanged
from authz.adapters.exchange.question import ExchangeQuestion, request_form
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import DocumentRequest, fetch_document
from authz.adapters.oauth_client import Credential
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
from authz.core.reason import Denied

_RENEWED_AFTER: Final = 0.8  # of a token's life
# A token is sent no later than this before its end, so that it is good when it arrives, by the
# upstream's clock too; of a short life a tenth.
_SPARE_SECONDS: Final = 5.0
_SPARE_PART: Final = 0.1
_FORM: Final = "application/x-www-form-urlencoded"
# Statuses whose body may have an error code (RFC 6749 section 5.2; Keycloak refuses with 403).
_EXPLAINED: Final = frozenset({400, 403})
_MAX_ACTOR_BYTES: Final = 16 * 1024


class TokenEndpoint:
    """The token endpoint of an issuer, by one version of the settings."""

    def __init__(
        self,
        issuer: IssuerSettings,
        settings: ExchangeSettings,
        keys: SigningKeys,
        wall: Callable[[], float],
    ) -> None:
        """Read the files that the settings name; ``wall`` is unix seconds.

        Raises CredentialError.
        """
        self._issuer, self._settings = issuer, settings
        self._credential = Credential.read(settings, issuer.issuer)
        self._keys = keys
        self._wall = wall

    def exchange(self, question: ExchangeQuestion) -> Exchanged:
        """Ask, and return the answer's token once it is checked.

        Raises FetchError, AnswerError, RefusedError.
        """
        asked_at, deadline = self._wall(), time.monotonic() + self._settings.timeout
        actor = _actor_token(self._settings.actor_token)
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
        form = {**request_form(question, self._settings), **self._credential.parameters()}
        if actor and self._settings.actor_token is not None:
            form |= {
                "actor_token": actor,
                "actor_token_type": self._settings.actor_token.type.urn,
            }
        response = fetch_document(
            DocumentRequest(
                self._settings.url,
                MAX_ANSWER_BYTES,
                {"content-type": _FORM, **self._credential.headers},
                urlencode(form).encode(),
                self._credential.context(),
                allow_any_address=self._settings.allow_any_address,
                refusals=_EXPLAINED,
            ),
            deadline,
        )
        if response.status in _EXPLAINED:
            raise read_refusal(response.status, response.body)
        return read_answer(response.body, self._settings)

    def _end(
        self, answer: TokenAnswer, expected: ExchangeExpected, asked_at: float, deadline: float
    ) -> float:
        """Check an answer's token, and return when it ends, in unix seconds. Raises AnswerError."""
        ends = [] if answer.seconds is None else [asked_at + answer.seconds]
        is_opaque = answer.token.count(".") != 2 or self._issuer.keys is None  # noqa: PLR2004 - a JWS has two
        try:
            if answer.scopes is not None:
                check_exchanged_scopes(answer.scopes, expected)
            if not is_opaque:
                ends.append(self._verified(answer.token, expected, deadline))
            elif not self._settings.accept_opaque:
                raise AnswerError("its token is opaque, and exchange.accept_opaque is not set")
        except Denied as denied:
            raise AnswerError(f"its token: {denied.detail}") from None
        if not ends:
            raise AnswerError("it does not say when its token ends")
        if max(ends) > asked_at + self._settings.max_lifetime:
            raise AnswerError("its token is good for longer than exchange.max_lifetime")
        return min(ends)

    def _verified(self, token: str, expected: ExchangeExpected, deadline: float) -> float:
        """Verify a token, with a key that may just have been published. Raises Denied."""
        try:
            return check_exchanged(
                token, expected, self._keys.get(self._issuer.issuer), self._wall()
            )
        except Denied as denied:
            if not isinstance(denied.needs, KeyNeeded):
                raise
            key_id = denied.needs.key_id
        self._keys.refresh(self._issuer.issuer, key_id, max(0.0, deadline - time.monotonic()))
        return check_exchanged(token, expected, self._keys.get(self._issuer.issuer), self._wall())


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
