"""Exchange of clients' tokens for tokens of the upstreams, at their issuers (RFC 8693).

``question`` is what is asked, ``endpoint`` asks an issuer, ``answer`` reads what it says, and
``client`` does so once for all equal questions, and keeps it in ``memory``. What an exchanged
token must be is in ``authz.core.delegation.exchanged``.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from authz.adapters.exchange.client import Count, ExchangeClient, ExchangeResult
from authz.adapters.exchange.memory import Exchanged, ExchangeMemory
from authz.adapters.exchange.question import ExchangeQuestion, question_key, scope_text
from authz.adapters.oauth_client import CredentialError
from authz.adapters.signing_keys import SigningKeys
from authz.core.decision import Allow
from authz.core.delegation import IssuerSettings, TokenSettings
from authz.core.delegation.credential import find_credential
from authz.core.delegation.exchanged import ExchangeExpected
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.upstream_token import UpstreamCredential, UpstreamToken

__all__ = [
    "Count",
    "EndpointStatus",
    "ExchangeClient",
    "ExchangeMemory",
    "ExchangeResult",
    "Exchanges",
    "ExchangesStatus",
    "TokenExchanger",
]
# While a new token is fetched, decisions with the old are remembered for so long.
_RENEWING_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """The state of an issuer's token endpoint.

    Attributes:
        issuer: whose it is.
        is_cut_off: whether it is not asked, because it failed.
        calls: calls to it that are under way.
    """

    issuer: str
    is_cut_off: bool
    calls: int


@dataclass(frozen=True, slots=True)
class ExchangesStatus:
    """The state of all token endpoints, and the bytes of the tokens that are remembered."""

    endpoints: tuple[EndpointStatus, ...]
    kept_bytes: int


class TokenExchanger:
    """Obtains upstreams' tokens by one version of the config."""

    def __init__(
        self,
        clients: Mapping[str, ExchangeClient],
        token: TokenSettings,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Take the clients by issuer; ``token`` says where a request has its token."""
        self.clients = clients
        self._token = token
        self._wall = wall

    def remembered(self, allow: Allow, request: Request, now: float) -> UpstreamCredential | None:
        """Return a token that was obtained before and is still good, None without one.

        ``now`` is unix seconds. Never waits. Raises Denied if the issuer has just refused it.
        """
        client, question = self._question(allow, request)
        kept = client.remembered(question)
        return None if kept is None else self._handed(kept, question, allow, now)

    def exchange(
        self, allow: Allow, request: Request, decision_id: str, *, now: float, seconds: float
    ) -> UpstreamCredential:
        """Return a token for the upstream of this allow. Waits for ``seconds`` at most.

        ``decision_id`` and ``now`` are not sent: many decisions share an exchange.
        Raises Denied(EXCHANGE_REFUSED | EXCHANGE_UNAVAILABLE).
        """
        del decision_id, now  # the answer came later
        client, question = self._question(allow, request)
        kept = client.exchange(question, seconds)
        return self._handed(kept, question, allow, self._wall())

    def _question(self, allow: Allow, request: Request) -> tuple[ExchangeClient, ExchangeQuestion]:
        """Return what to ask, and whom. Raises Denied(EXCHANGE_REFUSED | EXCHANGE_UNAVAILABLE)."""
        upstream, delegation = allow.upstream, allow.delegation
        client = self.clients.get(upstream.issuer)
        if client is None:  # the config was checked: a fault, which must not be an allow
            raise Denied(Reason.EXCHANGE_UNAVAILABLE, "the route's issuer exchanges no tokens")
        if not delegation.has_token:
            raise Denied(Reason.EXCHANGE_REFUSED, "there is no token to exchange")
        if delegation.issuer not in (upstream.issuer, *client.settings.subjects_from):
            detail = f"{upstream.issuer} exchanges its own tokens, and those of subjects_from"
            raise Denied(Reason.EXCHANGE_REFUSED, detail)
        scopes = upstream.narrowed(delegation.scopes)
        if not scopes and upstream.scopes is not None:  # no scope would be the issuer's default
            raise Denied(Reason.EXCHANGE_REFUSED, "the token has none of the scopes to ask for")
        token = find_credential(request, self._token).token
        agent = allow.agent.spiffe_id.text
        key = question_key(client.place, token, agent, upstream, scope_text(scopes))
        expected = ExchangeExpected(
            client.issuer,
            client.settings,
            delegation,
            allow.agent,
            tuple(filter(None, (upstream.audience, upstream.resource))),
            scopes,
        )
        return client, ExchangeQuestion(token, upstream, expected, key, delegation.expires_at)

    def _handed(
        self, kept: Exchanged, question: ExchangeQuestion, allow: Allow, now: float
    ) -> UpstreamCredential:
        """Return a token as what the upstream gets: the same object as long as that is good.

        It is good until the token is to be renewed, so that a use then renews it.
        """
        end = min(kept.good_until, question.ends_at)
        is_renewed = end > kept.renew_at
        until = min(end, max(kept.renew_at, now + _RENEWING_SECONDS)) if is_renewed else end
        handed, header = kept.handed, self._token.header
        # What an earlier version of the settings handed out may be for another header.
        if handed is not None and handed.header == header and now < handed.good_until <= until:
            return handed
        upstream = allow.upstream
        made = kept.handed = UpstreamCredential(
            header,
            f"Bearer {kept.value}",
            until,
            kept.credential_id,
            UpstreamToken.EXCHANGE,
            upstream.audience or upstream.resource,
        )
        return made


class Exchanges:
    """The token endpoints of all issuers that exchange tokens, and what they gave."""

    def __init__(
        self,
        keys: SigningKeys,
        count: Count = lambda *_: None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without issuers; ``keys`` verify tokens, ``count`` is called in turn."""
        self._keys = keys
        self._count = count
        self._clock = (wall, monotonic)
        self._lock = threading.Lock()  # of the counts: calls to several issuers may end at once
        self._memory = ExchangeMemory(monotonic=monotonic)
        self._exchanger = TokenExchanger({}, TokenSettings(), wall)

    def prepare(
        self, issuers: Iterable[IssuerSettings], token: TokenSettings
    ) -> TokenExchanger | None:
        """Return what exchanges by these settings, None if no issuer does; nothing changes yet.

        Reads the files that the settings name. Raises CredentialError.
        """
        found: dict[str, ExchangeClient] = {}
        for issuer in issuers:
            settings, name = issuer.exchange, issuer.issuer
            if settings is None:
                continue
            parts = issuer, settings, self._keys, self._memory, self._counted
            try:
                found[name] = ExchangeClient(*parts, clock=self._clock)
            except CredentialError as error:
                raise CredentialError(f"{name}: exchange.{error}") from None
        return TokenExchanger(found, token, self._clock[0]) if found else None

    def reconfigure(self, exchanger: TokenExchanger | None) -> None:
        """Show the state of other clients from now on."""
        self._exchanger = exchanger or TokenExchanger({}, TokenSettings(), self._clock[0])

    def status(self) -> ExchangesStatus:
        """Return the state of each endpoint, and of the memory."""
        endpoints = tuple(
            EndpointStatus(name, client.is_cut_off, client.calls)
            for name, client in self._exchanger.clients.items()
        )
        return ExchangesStatus(endpoints, self._memory.held_bytes)

    def _counted(self, issuer: str, result: ExchangeResult, seconds: float | None) -> None:
        with self._lock:
            self._count(issuer, result, seconds)
