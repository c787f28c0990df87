"""Makes the parts of a presentation that both dialects share: caller, profile, route, path.

The caller is established by the very authenticator of the pipeline.
"""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from authz.core.identity import xfcc
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.identity.settings import DEFAULT
from authz.core.paths import read_path
from authz.core.reason import Denied
from authz.core.request import Request
from authz.core.routes import PROFILE, ROUTE, Routes
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.core.spiffe.svid import checked_svid
from authz.edge.presentation import (
    MAX_IDS,
    HeadersSeen,
    IdentitySeen,
    Key,
    Presentation,
    XfccSeen,
    shown_detail,
    shown_id,
    shown_names,
)
from authz.edge.snapshot import Snapshot

_KEY_CHARS: Final = 128  # of a name in a key
# Longer targets are not remembered by the routes: a key must not read one once more for each check.
_TARGET_CHARS: Final = 256
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SUBJECT: Final = re.compile(r"[A-Za-z0-9.]+=")
_ALLOW: Final = "allow"
UNREADABLE_PATH: Final = "unreadable"


class Sight(msgspec.Struct, frozen=True):
    """The parts of a config by which a presentation is made.

    Attributes:
        agents: establish the caller.
        routes: find the route.
        credentials: lower-case names of the headers that hold a token or its proof.
    """

    agents: AgentAuthenticator
    routes: Routes
    credentials: frozenset[str]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Sight":
        """Return the parts of the settings in force."""
        authorizer = snapshot.authorizer
        return cls(authorizer.identity, authorizer.routes, snapshot.credential_headers)

    def seen(self, protocol: str, request: Request, now: float) -> Presentation:
        """Return the presentation of a request's caller, profile and route, at unix seconds."""
        named, proxy = request.context_value(PROFILE), request.proxy
        named_route = request.context_value(ROUTE)
        route = self.routes.of_raw(named_route, request.host, request.path)
        profile, by = self._profile(named, proxy)
        return Presentation(
            protocol,
            proxy=shown_id(proxy),
            profile=shown_id(profile),
            profile_by=by,
            route=route.name,
            named_route=shown_id(named_route),
            messages=route.protocol.value,
            identity=self._identity(request, now),
            path_forms=_path_forms(request.path),
            at=now,
        )

    def _profile(self, named: str, proxy: str) -> tuple[str, str]:
        """Return the profile's name, and what chose it."""
        try:
            profile = self.agents.profile_for(named, proxy)
        except Denied:  # identify() says why
            profile = named
        if named:
            return profile, "extension"
        return profile, "default" if profile == DEFAULT else "callers"

    def _identity(self, request: Request, now: float) -> IdentitySeen:
        agent = reason = detail = ""
        try:
            agent = self.agents.identify(request, now).spiffe_id.text
        except Denied as denied:
            reason, detail = denied.reason.code, denied.detail
        return IdentitySeen(
            principal=shown_id(request.principal),
            principal_form=_form(request.principal),
            certificate=_certificate(request.certificate, now),
            agent=shown_id(agent),
            reason=reason,
            detail=shown_detail(detail),
        )


def kind_of(protocol: str, request: Request, routes: Routes) -> Key:
    """Return the kind of a check: the protocol, the proxy, and how profile and route are named.

    The profile depends on nothing else. This runs for each check that had to be decided.
    """
    profile = named = ""
    for name, value in request.context:
        if name == PROFILE:
            profile = value
        elif name == ROUTE:
            named = value
    host, path = request.host, request.path
    is_short = len(host) + len(path) <= _TARGET_CHARS
    route = routes.of_raw(named, host, path).name if is_short else "?"
    if len(request.proxy) + len(profile) + len(named) > _KEY_CHARS:
        return _cut_key(protocol, request.proxy, profile, named, route)
    return protocol, request.proxy, profile, named, route


def _cut_key(*names: str) -> Key:
    """Return the key with each name cut: many kinds are kept, and a name may be long."""
    return tuple([name[:_KEY_CHARS] for name in names])


def headers_seen(
    form: str, names: Iterable[str], count: int, credentials: frozenset[str]
) -> HeadersSeen:
    """Return the names of a request's headers; ``names`` may be read up to their limit only."""
    listed = list(names)
    came = sorted(credentials.intersection(map(str.lower, listed)))
    return HeadersSeen(form, count, shown_names(listed), tuple(came))


def xfcc_seen(text: str | None) -> XfccSeen | None:
    """Return the header ``x-forwarded-client-cert``, as far as it names anyone."""
    if text is None:
        return None
    try:
        elements = xfcc.parse(text)
    except xfcc.XfccError as error:
        return XfccSeen(fault=shown_detail(str(error)))
    writers = (by for element in elements for by in element.by)
    return XfccSeen(
        len(elements),
        tuple(_spiffe(element.uris[0]) if len(element.uris) == 1 else "" for element in elements),
        tuple([_spiffe(by) for by in islice(writers, MAX_IDS)]),
    )


def decision_of(reason: object) -> str:
    """Return the word for a decision: allow, or the code of the reason to refuse."""
    return _ALLOW if reason is None else str(getattr(reason, "code", reason))


def _spiffe(text: str) -> str:
    """Return a SPIFFE ID; "other" for any other text, which nobody has checked."""
    try:
        return shown_id(SpiffeId.parse(text).text)
    except SpiffeIdError:
        return "other"


def _form(principal: str) -> str:
    if not principal:
        return ""
    try:
        SpiffeId.parse(principal)
    except SpiffeIdError:
        if _URI.match(principal):
            return "uri"
        return "subject" if _SUBJECT.match(principal) else "name"
    return "spiffe"


def _certificate(certificate: str, now: float) -> str:
    if not certificate:
        return "absent"
    try:
        checked_svid(certificate, now, "source.certificate")
    except Denied as denied:
        return shown_detail(denied.detail)
    return "svid"


def _path_forms(path: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(read_path(path)[1]))
    except Denied:
        return (UNREADABLE_PATH,)
