"""How an issuer's tokens name the acting agent: the ``actor:`` of its settings."""

import re
from functools import cached_property
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from authz.core.delegation.value_pattern import ValuePattern
from authz.core.settings import MisfitError, Settings
from authz.core.spiffe import SCHEME, SpiffeId, SpiffeIdError, SpiffeIdText

ACT: Final = "act"  # the claim that names the actor (RFC 8693 section 4.1)
_ONE: Final = {"type": "string", "minLength": 1, "maxLength": 64}


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _is_id(text: str) -> bool:
    if not text.startswith(SCHEME):
        return False  # as most names do, and this costs no exception
    try:
        SpiffeId.parse(text)
    except SpiffeIdError:
        return False
    return True


ClaimText = Annotated[str, Field(min_length=1, max_length=64)]
_Claims = Annotated[
    tuple[ClaimText, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]


class ActorSettings(Settings):
    """How an issuer's tokens name the acting agent."""

    claim: _Claims = Field(default=(ACT,), min_length=1)
    """The claim that names the agent: act (RFC 8693 section 4.1), or, for an issuer without act,
    another claim such as azp. If it is a list, such as [azp, appid], all of its claims that a token
    has must name the same agent. An act beside them must name it too.
    """
    map: dict[str, SpiffeIdText] = Field(default={})
    """The SPIFFE ID of the agent for each value of the claim, and of the sub of an act whose iss is
    the token's own.
    """
    patterns: dict[str, str] = Field(default={})
    """SPIFFE IDs made from values that are not in the map, such as
    "system:serviceaccount:{ns}:{sa}": "spiffe://corp.example/ns/{ns}/sa/{sa}". A name in braces
    stands for one or more of A-Z, a-z, 0-9, '.', '-' and '_'. The first pattern that fits counts.
    Without map and patterns, a value must be a SPIFFE ID itself; the sub of an act always may be.
    """
    issuers: tuple[str, ...] = ()
    """For act: further accepted values of an actor's iss. The token's own iss and the agent's trust
    domain, such as spiffe://corp.example, are always accepted. An actor is identified by its iss
    and sub together.
    """

    @property
    def is_mapped(self) -> bool:
        """Tell whether a mapped claim names the agent, and not act."""
        return self.claim != (ACT,)

    @cached_property
    def names(self) -> frozenset[str]:
        """The claim's values in the map, in lower case, as some issuers write accounts."""
        return frozenset(map(str.lower, self.map))

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of ``names``, and of the last segments of the agents' IDs."""
        agents = (agent.rpartition("/")[2].lower() for agent in self.map.values())
        return frozenset(re.findall("[a-z]+", " ".join([*self.names, *agents])))

    def agent_of(self, value: str) -> str | None:
        """Return the agent that a value stands for, None for none.

        The first pattern that fits decides, even if its result is not a SPIFFE ID.
        """
        mapped = self.map.get(value)
        if mapped is not None:
            return mapped
        for pattern in self._patterns:
            made = pattern.make(value)
            if made is not None:
                return made if _is_id(made) else None
        names_itself = not (self.map or self.patterns) and _is_id(value)
        return value if names_itself else None

    @cached_property
    def _patterns(self) -> tuple[ValuePattern, ...]:
        return tuple(ValuePattern.parse(*pair) for pair in self.patterns.items())

    @model_validator(mode="after")
    def _patterns_are_valid(self) -> Self:
        for value, template in self.patterns.items():
            try:
                ValuePattern.parse(value, template)
            except ValueError as error:
                raise MisfitError(str(error), "patterns", value) from None
        return self

    @model_validator(mode="after")
    def _act_stands_alone(self) -> Self:
        if self.is_mapped and ACT in self.claim:
            raise MisfitError("act counts beside any other claim: leave it out here", "claim")
        if "aud" in self.claim:
            raise MisfitError("aud says for whom a token is, never who sends it", "claim")
        if self.is_mapped and self.issuers:
            raise MisfitError(
                "issuers is only for the claim act, whose actors have an iss", "issuers"
            )
        return self
