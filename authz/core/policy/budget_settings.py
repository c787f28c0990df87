"""The settings of a rule's budget: how much it allows in a window of time."""

from decimal import Decimal
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.choice import Choice, WhenAway
from authz.core.policy.claim_names import ClaimName
from authz.core.settings import Duration, MisfitError, Settings

MILLIONTHS: Final = 1_000_000  # budgets are counted in whole millionths, as money often is
# Twice as many millionths are exact in the store's numbers, which are those of Lua: 2**53.
MAX_LIMIT: Final = 1_000_000_000
MAX_WINDOW_SECONDS: Final = 366 * 86400.0
_DECIMALS: Final = 6


def in_millionths(amount: float) -> Decimal:
    """Return an amount in millionths, exactly as its shortest decimal form says."""
    return Decimal(repr(amount)) * MILLIONTHS


def _limit(value: float) -> float:
    if not 0 < value <= MAX_LIMIT:
        raise ValueError(f"must be more than 0, and at most {MAX_LIMIT}")
    if in_millionths(value) % 1:
        raise ValueError(f"may have {_DECIMALS} decimals at most")
    return value


class BudgetOwner(Choice):
    """Those who share a budget."""

    AGENT = "agent"
    PRINCIPAL = "principal"
    PAIR = "pair"


class BudgetSettings(Settings):
    """How often, or how much, a rule allows in a window of time. Decisions by it are not cached."""

    limit: Annotated[float, AfterValidator(_limit)] = Field(
        json_schema_extra={"exclusiveMinimum": 0, "maximum": MAX_LIMIT}
    )
    """The most that may be spent in a window: calls, or the sum of their costs; 6 decimals at
    most.
    """
    per: BudgetOwner
    """Who has a budget of their own: each agent, each principal (all of a principal's agents share
    it), or each pair of an agent and a principal. A request without a token counts for its agent.
    """
    window: Annotated[Duration, Field(ge=1.0, le=MAX_WINDOW_SECONDS)]
    """The length of the window, which slides: up to now. Never more than limit passes in a fixed
    window of this length, counted from 1970; in any other, less than twice as much.
    """
    cost: ClaimName | None = None
    """The argument of the call that says what it costs: its name, or a JSON Pointer (RFC 6901) for
    members of objects. Left out, each call costs 1. The rule allows no call whose cost is missing,
    not a number, negative, or more than limit.
    """
    when_away: WhenAway = WhenAway.DENY
    """What happens while the shared store does not answer. deny: refuse with store_unavailable.
    local: count what passes this process alone, so that each process may allow the whole limit.
    """
    shadow: bool = False
    """Count and spend, but refuse nothing: what the budget would have refused is recorded."""

    @model_validator(mode="after")
    def _a_call_can_pass(self) -> Self:
        if self.cost is None and self.limit < 1:
            raise MisfitError("a call costs 1, so less allows none; set 1 at least", "limit")
        return self
