"""A party whose signals count, and what they can be about."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSender:
    """A transmitter of security events, or an OpenID provider that logs users out.

    Attributes:
        issuer: the ``iss`` of what it sends.
        about: the issuer whose tokens its signals are about: no signal can be about others.
        audiences: what it sends is for one of these.
        algorithms: the signature algorithms that it may use.
        max_age: the longest accepted time since ``iat``, in seconds.
        clock_skew: how far its clock, and that of ``about``, may differ from ours, in seconds.
        token_seconds: how long a token of ``about`` can be accepted after its ``iat``.
        by_session: whether the tokens of ``about`` name their session in ``sid``.
    """

    issuer: str
    about: str
    audiences: tuple[str, ...]
    algorithms: frozenset[str]
    max_age: float
    clock_skew: float
    token_seconds: float
    by_session: bool = False
