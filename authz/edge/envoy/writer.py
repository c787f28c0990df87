"""Writes what Envoy is told: every CheckResponse comes from here.

What Envoy does with an answer was measured, and a few of its ways decide the shape of ours:

- Only ``status.code`` decides, and 0 is an allow whatever else is in the message: so an answer is
  made in ``allowed`` or ``refused``, and only ``allowed`` writes no code.
- A header to set and to remove in one answer is removed: so each owned name is in one list, never
  in both, and every owned name is in one, or a client's own copy would pass.
- ``append_action`` is ignored by some versions and obeyed by others, whose default appends to the
  client's value: so it is always OVERWRITE_IF_EXISTS_OR_ADD, and ``append`` is never written.
- A bad byte in a header value is a 500 or a split response: so values are escaped to visible ASCII;
  and blanks around one are cut off by whoever reads it: so they are escaped too.
"""

import re
import secrets
import struct
from collections.abc import Iterable
from itertools import product
from typing import Annotated, Final, Self
from urllib.parse import quote

import msgspec
from pydantic import Field

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.audit import CacheUse
from authz.core.decision import Allow, Decision, Deny, Effect
from authz.core.reason import DPOP_SCHEME
from authz.core.request import DPOP, MessageProtocol
from authz.core.settings import Settings
from authz.edge.envoy.refusal import Body, body_of, jsonrpc_error

_OWNED: Final = ("id", "principal", "issuer", "scope", "chain", "decision-id")
_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%") + " "
_QUOTED: Final = str.maketrans({'"': "'", "\\": "/"})  # inside a quoted-string, RFC 9110 5.6.4
_CONTROL: Final = re.compile(r"[^\x20-\x7e]")
OVERWRITE: Final = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
# Stands in an answer where the decision id goes: as long as one, so that the lengths around it stay
# right, and random, so that no client can write it into a claim and have its own text cut.
_ID_PLACE: Final = secrets.token_hex(16)
_OK: Final = 200  # of HTTP: what refuses is CheckResponse.status
REALM: Final = "agent-authz"


class HeaderSettings(Settings):
    """The identity headers that upstreams receive."""

    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}-$")] = "x-agent-"
    """The prefix of their names. The server removes these headers from every client's request."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A decision as wire bytes, into which go a decision id and what differs from use to use.

    A cached decision is one of these: made once, completed for each request. The id has its places
    in the bytes, of the same length, so completing is cutting and joining; the rest is appended, as
    a second ``dynamic_metadata``, ``ok_response`` or ``denied_response``, which every reader of
    protobuf merges with the first.

    Attributes:
        pieces: the bytes between the places of the id.
        error: likewise, of a JSON-RPC error that goes into the body; empty for another body.
    """

    pieces: tuple[bytes, ...]
    error: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, message: pb.CheckResponse, error: str = "") -> Self:
        """Take a response, and an error, that hold ``_ID_PLACE`` wherever the id belongs."""
        data = message.SerializeToString(deterministic=True)
        place = _ID_PLACE.encode()
        return cls(tuple(data.split(place)), tuple(error.encode().split(place)) if error else ())

    def complete(
        self,
        decision_id: str,
        valid_until: float,
        is_hit: bool,  # noqa: FBT001 - hot path
        ids: tuple[bytes, ...] = (),
        twins: tuple[str, ...] = (),
    ) -> bytes:
        """The bytes of the CheckResponse.

        With this id, 32 lower-case hex characters; how long a proxy may go by it, in unix seconds;
        whether it was remembered; for the JSON-RPC requests of these ids, as JSON; and, of an allow
        only, with these further headers to remove.
        """
        text = decision_id.encode("ascii")
        body = text.join(self.pieces)
        if self.error:
            denied = pb.DeniedHttpResponse(body=jsonrpc_error(text.join(self.error), ids).decode())
            body += pb.CheckResponse(denied_response=denied).SerializeToString()
        if twins:
            removed = pb.OkHttpResponse(headers_to_remove=twins)
            body += pb.CheckResponse(ok_response=removed).SerializeToString()
        return body + (_HIT if is_hit else _MISS) + _double(valid_until)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.pieces + self.error))


def _use(cache: CacheUse) -> bytes:
    """What is appended for a remembered decision, or a new one, without the last double."""
    message = pb.CheckResponse()
    message.dynamic_metadata.update({"cache": cache, "valid_until": 1.0})
    data = message.SerializeToString(deterministic=True)
    if not data.endswith(_double(1.0)):  # the map's order is part of protobuf's promise
        raise AssertionError
    return data.removesuffix(_double(1.0))


_double: Final = struct.Struct("<d").pack  # as protobuf writes one
_HIT: Final = _use(CacheUse.HIT)
_MISS: Final = _use(CacheUse.MISS)


def owned_headers(prefix: str) -> frozenset[str]:
    """The names of the identity headers."""
    return frozenset(prefix + name for name in _OWNED)


class Writer:
    """Makes the answers: every CheckResponse comes from here."""

    def __init__(
        self,
        headers: HeaderSettings,
        stripped: tuple[str, ...],
        dpop_algorithms: tuple[str, ...],
        added: tuple[str, ...] = (),
    ) -> None:
        """Take the settings, and of the token's the headers to strip and what DPoP proofs may be.

        ``stripped`` names headers that the upstream must not see; ``dpop_algorithms`` are what
        challenges offer; ``added`` are the names of all headers that rules may add.
        """
        self._added = added
        self._algs = " ".join(dpop_algorithms)
        self._names = {name: headers.prefix + name for name in _OWNED}
        self._twins = tuple(sorted(set(_underscore_twins([*self._names.values(), *added]))))
        self._stripped = stripped

    def answer(
        self,
        decision: Decision,
        policy_version: str,
        protocol: MessageProtocol = MessageProtocol.NONE,
    ) -> Answer:
        """The answer to a request, on a route of this protocol."""
        error = ""
        if isinstance(decision, Allow):
            message = self._allowed(decision)
        else:
            body = body_of(decision, protocol, _ID_PLACE)
            message, error = self._refused(decision, body), body.error
        _add_metadata(message, decision, policy_version)
        return Answer.of(message, error)

    def _allowed(self, allow: Allow) -> pb.CheckResponse:
        message = pb.CheckResponse()
        message.status.code = 0  # the one place that says so
        response = message.ok_response
        values = _identity_values(allow)
        headers = {header: values[name] for name, header in self._names.items()}
        headers.update(dict.fromkeys(self._added, ""))
        for header, texts in allow.grant.headers:
            headers[header] = ",".join([escaped(text, safe="") for text in texts])
        for header, value in headers.items():
            if value:
                _add_header(response, header, value)
            else:
                response.headers_to_remove.append(header)
        response.headers_to_remove.extend(self._twins)
        response.headers_to_remove.extend(self._stripped)
        if allow.delegation.once is not None and self._stripped:
            response.headers_to_remove.append(DPOP)  # a proof is no good without its token
        return message

    def _refused(self, deny: Deny, body: Body) -> pb.CheckResponse:
        message = pb.CheckResponse()
        reason = deny.reason
        message.status.code = reason.grpc_code
        message.status.message = reason.code
        denied = message.denied_response
        denied.status.code = _OK if deny.by_message else reason.http_status
        denied.body = body.text
        headers = [
            ("content-type", body.content_type),
            ("cache-control", "no-store"),
            ("x-authz-reason", reason.code),
            *deny.headers,
        ]
        challenge = challenge_for(deny, self._algs)
        if challenge:
            headers.append(("www-authenticate", challenge))
        for name, value in headers:
            _add_header(denied, name, value)
        return message


def _identity_values(allow: Allow) -> dict[str, str]:
    delegation = allow.delegation
    return {
        "id": allow.agent.spiffe_id.text,
        "principal": escaped(delegation.subject),
        "issuer": escaped(delegation.issuer),
        "scope": " ".join(sorted(delegation.scopes)),
        "chain": ",".join(escaped(actor.subject, safe="") for actor in delegation.actors[1:]),
        "decision-id": _ID_PLACE,
    }


def escaped(value: str, *, safe: str = _VISIBLE) -> str:
    """Visible ASCII: what is not, and "%", percent-encoded as UTF-8, so that it can be undone.

    So are blanks at the ends (RFC 9110 section 5.5): " alice" must not become "alice".
    """
    text = quote(value, safe=safe or _VISIBLE.replace(",", ""))
    inner = text.strip(" ")
    if len(inner) == len(text):
        return text
    before = len(text) - len(text.lstrip(" "))
    return "%20" * before + inner + "%20" * (len(text) - len(inner) - before)


def _underscore_twins(names: Iterable[str]) -> list[str]:
    """Names that a CGI-like server (WSGI, PHP) can't tell from ours: "_" for any "-"."""
    twins: list[str] = []
    for name in names:
        words = name.split("-")
        for joints in product("-_", repeat=len(words) - 1):
            twin = "".join(word + joint for word, joint in zip(words, (*joints, ""), strict=True))
            if twin != name:
                twins.append(twin)
    return twins


def challenge_for(deny: Deny, dpop_algorithms: str = "") -> str:
    """``WWW-Authenticate`` (RFC 6750 section 3, RFC 9449 section 7.1); "" for no challenge."""
    error = deny.reason.error
    if error is None:
        return ""
    parameters = [("error", error)] if error else []
    parameters.extend(deny.parameters)
    if deny.scheme == DPOP_SCHEME:
        parameters.append(("algs", dpop_algorithms))
    if not parameters:  # RFC 6750 section 3: the scheme must have a parameter
        parameters.append(("realm", REALM))
    rendered = (f'{key}="{_quotable(value)}"' for key, value in parameters)
    return f"{deny.scheme} " + ", ".join(rendered)


def _quotable(value: str) -> str:
    return _CONTROL.sub("?", value).translate(_QUOTED)


def _add_header(response: pb.OkHttpResponse | pb.DeniedHttpResponse, name: str, value: str) -> None:
    """Add a header, filled in place: made apart and copied, it takes three times as long."""
    option = response.headers.add()
    option.append_action = OVERWRITE
    header = option.header
    header.key, header.value = name, value


def _add_metadata(message: pb.CheckResponse, decision: Decision, policy_version: str) -> None:
    agent, delegation = decision.agent, decision.delegation
    is_allow = isinstance(decision, Allow)
    fields = {
        "decision": Effect.ALLOW if is_allow else Effect.DENY,
        "reason": "" if isinstance(decision, Allow) else decision.reason.code,
        "decision_id": _ID_PLACE,
        "agent": agent.spiffe_id.text if agent else "",
        "principal": delegation.subject if delegation else "",
        "issuer": delegation.issuer if delegation else "",
        "chain": ",".join(actor.subject for actor in delegation.actors[1:]) if delegation else "",
        "rule": decision.grant.agent_rule if isinstance(decision, Allow) else decision.rule,
        "policy_version": policy_version,
        "shadow": ",".join(f"{one.by}:{one.decision}" for one in decision.shadows),
    }
    members = message.dynamic_metadata.fields
    for name, text in fields.items():  # update() looks at the kind of each, and takes twice as long
        members[name].string_value = text
