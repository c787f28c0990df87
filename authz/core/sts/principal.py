"""Names principals in our own tokens, so that each stays one person, and nobody becomes another.

A verifier knows a principal by ``iss`` and ``sub`` together (RFC 8725 section 3.8), and the ``iss``
of our tokens is the token service. So ``sub`` must name one person of all that the service takes
tokens of. With one issuer it is the issuer's own ``sub``; with several, each issuer has a prefix,
and none is the beginning of another: what follows can't make two of them equal. ``sub_id`` has the
issuer's own name for the principal (RFC 9493 section 3.2.2), which the next hop is decided by.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from authz.core.delegation import IssuerSettings
from authz.core.delegation.claims import MAX_NAME_CHARS, name_in
from authz.core.distributed_claims import external_claims, is_external
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SCHEME
from authz.core.spiffe.spiffe_id import is_misspelt
from authz.core.sts.settings import SubjectSettings, TokenServiceSettings
from authz.core.sts.subject import Subject

SUB_ID: Final = "sub_id"  # RFC 9493 section 4.1
_FORMAT: Final = "iss_sub"
_OF_LOGIN: Final = ("acr", "amr")  # whose values mean something at their issuer alone
_AUTH_TIME: Final = "auth_time"


class Principal(msgspec.Struct, frozen=True):
    """The principal of a token request.

    Attributes:
        issuer, subject: as the first issuer names it.
        name: its ``sub`` in our tokens.
        claims: the claims that our token passes on.
    """

    issuer: str
    subject: str
    name: str
    claims: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return no claim, so that no log line can hold one."""
        return "Principal()"

    @property
    def sub_id(self) -> dict[str, str]:
        """The ``sub_id`` of our token."""
        return {"format": _FORMAT, "iss": self.issuer, "sub": self.subject}


class Principals:
    """Finds the principals of subject tokens, and their names in our own."""

    def __init__(self, settings: TokenServiceSettings, issuers: Iterable[IssuerSettings]) -> None:
        """Index the issuers whose users the service knows."""
        self._own = settings.issuer
        listed = known_subjects(settings, [each.issuer for each in issuers])
        self._known = {each.issuer: each for each in listed}
        of_login = _OF_LOGIN if len(listed) == 1 else ()
        self._claims = {each.issuer: (_AUTH_TIME, *of_login, *each.claims) for each in listed}
        every = (name for names in self._claims.values() for name in names)
        self._claims[self._own] = tuple(every)  # as we wrote them into it

    def of(self, subject: Subject) -> Principal:
        """Return the principal of a verified subject token. Raises Denied."""
        issuer, members = subject.issuer.issuer, subject.claims.members
        if issuer == self._own:
            return self._of_own(subject)
        name = self._name(issuer, subject.claims.subject)
        return Principal(issuer, subject.claims.subject, name, self._passed_on(issuer, members))

    def _of_own(self, subject: Subject) -> Principal:
        """Return the principal of a token of our own, who keeps its name. Raises Denied."""
        members = subject.claims.members
        told = members.get(SUB_ID)
        if not isinstance(told, dict) or told.get("format") != _FORMAT:
            raise Denied(Reason.TOKEN_CLAIM, "its sub_id is missing or of another format")
        issuer, name = name_in(told, "iss", of="sub_id's"), name_in(told, "sub", of="sub_id's")
        if self._name(issuer, name) != subject.claims.subject:
            raise Denied(Reason.TOKEN_CLAIM, "its sub is not how its sub_id is called here")
        return Principal(issuer, name, subject.claims.subject, self._passed_on(self._own, members))

    def _name(self, issuer: str, subject: str) -> str:
        """Return a principal's name in our tokens. Raises Denied."""
        known = self._known.get(issuer)
        if known is None:
            raise Denied(Reason.TOKEN_ISSUER, f"{issuer} is not listed in sts.subjects")
        name = known.prefix + subject
        is_agents = name.startswith(SCHEME) or is_misspelt(name)
        if len(name) > MAX_NAME_CHARS or is_agents:
            raise Denied(Reason.TOKEN_CLAIM, "its sub with the prefix is too long, or an agent's")
        return name

    def _passed_on(self, issuer: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return the claims that our token gets of a token.

        One that is elsewhere can't be passed on: without it, a deny that names it would not apply.
        Raises Denied(TOKEN_CLAIM).
        """
        elsewhere = external_claims(members)
        names = self._claims[issuer]
        gone = [name for name in names if is_external(name, elsewhere)]
        if gone:
            raise Denied(Reason.TOKEN_CLAIM, f"its {gone[0]} is elsewhere, and must be passed on")
        return {name: members[name] for name in names if name in members}


def known_subjects(
    settings: TokenServiceSettings, issuers: Iterable[str]
) -> tuple[SubjectSettings, ...]:
    """Return the issuers whose users the service knows: as listed, or the only other issuer.

    Empty if several could be meant: then no token is accepted, and the config is refused.
    """
    if settings.subjects:
        return settings.subjects
    others = [issuer for issuer in issuers if issuer != settings.issuer]
    return (SubjectSettings(issuer=others[0]),) if len(others) == 1 else ()
