"""Takes the last two steps of a decision: what may be used once is used, and budgets are spent.

Both only refuse, and both ask the store: in this process's memory nothing waits. With a store that
replicas share they wait within the caller's deadline, in one place of the bulkhead. An agent makes
at most half of the calls at once, and its others wait for their turns.
"""

import math
from collections.abc import Callable

from authz.adapters.budgets import Spender
from authz.adapters.single_use import SingleUses
from authz.adapters.store.store import MAX_CALLS
from authz.core.decision import Allow
from authz.core.reason import Denied, Reason
from authz.edge.answered import DecodedCheck
from authz.edge.bulkhead import Bulkhead, BulkheadFullError
from authz.edge.clock import Clock, TimeRemaining
from authz.edge.learning import seconds_to_wait
from authz.edge.turns import NoTurnError, Turns
from authz.edge.waits import Waits, waiting


class Consumption:
    """Consumes what an allow takes away from later requests."""

    def __init__(
        self, single_uses: SingleUses, spender: Spender, bulkhead: Bulkhead, clock: Clock
    ) -> None:
        """Take the memory of what was used, what spends budgets, and the places to wait."""
        self._single_uses = single_uses
        self._spender = spender
        self._bulkhead = bulkhead
        self._clock = clock
        self._turns = Turns(MAX_CALLS // 2)
        self._is_shared = single_uses.is_shared or spender.is_shared

    def has_to_wait(self, allow: Allow) -> bool:
        """Tell whether consuming this allow waits for a store."""
        return self._is_shared and takes_any(allow)

    def consume(
        self,
        allow: Allow,
        check: DecodedCheck,
        decision_id: str,
        time_remaining: TimeRemaining,
        waits: Waits | None,
    ) -> Allow:
        """Consume, and return the allow, with notes of budgets in shadow. Raises Denied."""
        if not takes_any(allow):
            return allow
        attempt = check.attempt or decision_id.encode()
        if not self._is_shared:
            return self._consumed(allow, attempt, lambda: math.inf, spends=check.spends)

        def left() -> float:
            return seconds_to_wait(time_remaining)

        agent = allow.agent.spiffe_id.text
        try:
            with (
                waiting(waits, "store"),
                self._bulkhead.waiting(agent),
                self._turns.turn(agent, left()),
            ):
                return self._consumed(allow, attempt, left, spends=check.spends)
        except (BulkheadFullError, NoTurnError):
            raise Denied(Reason.OVERLOADED, "too many requests wait for the store") from None

    def _consumed(
        self, allow: Allow, attempt: bytes, left: Callable[[], float], *, spends: bool
    ) -> Allow:
        agent = allow.agent.spiffe_id.text
        # 6. (RFC 9449 section 11.1)
        for use in (*allow.delegation.single_uses, *allow.permit.single_uses):
            self._single_uses.use(use, attempt, self._clock.wall(), left(), agent=agent)
        if not spends or not allow.permit.spendings:
            return allow
        return self._spender.spend(allow, self._clock.wall(), left)  # 7.


def takes_any(allow: Allow) -> bool:
    """Tell whether an allow consumes anything."""
    permit = allow.permit
    return bool(allow.delegation.single_uses or permit.spendings or permit.single_uses)
