"""Obtains what the upstream gets in place of the client's token: step 5 of a decision.

An assertion is signed here and now. A token is exchanged at its issuer: that may wait, within the
caller's deadline and in one place of the bulkhead. Neither grants anything: an allow without the
credential that its route asks for becomes a refusal, and never an allow without a credential.
"""

from typing import Final

from authz.core.decision import Allow
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.upstream_token import UpstreamCredential, UpstreamToken
from authz.edge.bulkhead import Bulkhead, BulkheadFullError
from authz.edge.clock import Clock, TimeRemaining
from authz.edge.learning import seconds_to_wait
from authz.edge.snapshot import Snapshot
from authz.edge.waits import Waits, waiting

NO_SIGNER: Final = "the config has no assertions"
NO_EXCHANGE: Final = "the config's issuers exchange no tokens"


class Obtaining:
    """Obtains the credentials of allows."""

    def __init__(self, bulkhead: Bulkhead, clock: Clock) -> None:
        """Take the places to wait, and the clock."""
        self._bulkhead = bulkhead
        self._clock = clock

    def obtained(
        self,
        snapshot: Snapshot,
        request: Request,
        allow: Allow,
        time_remaining: TimeRemaining,
        decision_id: str,
        *,
        may_wait: bool,
        waits: Waits | None,
    ) -> Allow | None:
        """Return the allow with its credential, if its upstream gets one.

        Without ``may_wait``, returns None if the credential can't be had at once. Raises Denied.
        """
        gets = allow.upstream.gets
        if gets is UpstreamToken.ASSERT:
            return allow.with_credential(self._signed(snapshot, allow, decision_id))
        if gets is not UpstreamToken.EXCHANGE:
            return allow
        credential = self._remembered(snapshot, request, allow)
        if credential is None and may_wait:
            credential = self._exchanged(
                snapshot, request, allow, time_remaining, decision_id=decision_id, waits=waits
            )
        return None if credential is None else allow.with_credential(credential)

    @staticmethod
    def settle(snapshot: Snapshot, allow: Allow) -> None:
        """Note that an allow is given, so that its assertion may be used again."""
        if allow.upstream.gets is UpstreamToken.ASSERT and snapshot.assertions is not None:
            snapshot.assertions.keep(allow)

    def _signed(self, snapshot: Snapshot, allow: Allow, decision_id: str) -> UpstreamCredential:
        if snapshot.assertions is None:
            raise Denied(Reason.INTERNAL_ERROR, NO_SIGNER)
        return snapshot.assertions.sign(allow, decision_id, self._clock.wall())

    def _remembered(
        self, snapshot: Snapshot, request: Request, allow: Allow
    ) -> UpstreamCredential | None:
        if snapshot.exchanges is None:
            raise Denied(Reason.INTERNAL_ERROR, NO_EXCHANGE)
        return snapshot.exchanges.remembered(allow, request, self._clock.wall())

    def _exchanged(
        self,
        snapshot: Snapshot,
        request: Request,
        allow: Allow,
        time_remaining: TimeRemaining,
        *,
        decision_id: str,
        waits: Waits | None,
    ) -> UpstreamCredential:
        exchanges = snapshot.exchanges
        if exchanges is None:
            raise Denied(Reason.INTERNAL_ERROR, NO_EXCHANGE)
        try:
            with (
                waiting(waits, "token exchange", allow.upstream.issuer),
                self._bulkhead.waiting(allow.agent.spiffe_id.text),
            ):
                seconds = max(0.0, seconds_to_wait(time_remaining))
                now = self._clock.wall()
                return exchanges.exchange(allow, request, decision_id, now=now, seconds=seconds)
        except BulkheadFullError:
            raise Denied(Reason.OVERLOADED, "too many requests wait for exchanges") from None
