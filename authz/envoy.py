"""Envoy's protobuf on one side, our Request and Decision on the other: only here are both.

What Envoy does with an answer was measured, and a few of its ways decide the shape of ours:

- Only ``status.code`` decides, and 0 is an allow whatever else is in the message: so an answer is
  made in ``allowed`` or ``refused``, and only ``allowed`` writes no code.
- A header to set and to remove in one answer is removed: so each owned name is in one list, never
  in both, and every owned name is in one, or a client's own copy would pass.
- ``append_action`` is ignored by some versions and obeyed by others, whose default appends to the
  client's value: so it is always OVERWRITE_IF_EXISTS_OR_ADD, and ``append`` is never written.
- A bad byte in a header value is a 500 or a split response: so values are escaped to visible ASCII.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Final
from urllib.parse import quote

from pydantic import Field

from authz import rpc
from authz._pb import ext_authz_pb2 as pb
from authz.decision import Allow, Decision, Deny
from authz.reason import DPOP_SCHEME
from authz.request import DPOP, Request, credentials_elsewhere
from authz.settings import Settings

_OWNED: Final = ("id", "principal", "issuer", "scope", "chain", "decision-id")
_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%") + " "
_QUOTED: Final = str.maketrans({'"': "'", "\\": "/"})  # inside a quoted-string, RFC 9110 5.6.4
_CONTROL: Final = re.compile(r"[^\x20-\x7e]")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
OVERWRITE: Final = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
# Stands in an answer where the decision id goes: as long as one, so that the lengths around it stay
# right, and random, so that no client can write it into a claim and have its own text cut.
_ID_PLACE: Final = secrets.token_hex(16)
REALM: Final = "agent-authz"


class HeaderSettings(Settings):
    """The identity headers that upstreams receive."""

    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}-$")] = "x-agent-"
    """What their names start with; every one of them is taken from the client's request."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What decisions read, beside what every request has.

    Attributes:
        headers: lower-case names.
        namespaces: of ``metadata_context``.
        rpc: whether the JSON-RPC method of a request without a token matters.
    """

    headers: frozenset[str]
    namespaces: tuple[str, ...] = ()
    rpc: bool = False


class Reader:
    """Reads the inputs of decisions from CheckRequests, ``headers`` and ``header_map`` alike."""

    def __init__(self, inputs: Inputs) -> None:
        """Take what decisions read."""
        self._inputs = inputs
        self._names = inputs.headers | {"cookie"} | ({*rpc.HEADERS} if inputs.rpc else set())

    def request_from(self, message: pb.CheckRequest, proxy: str = "") -> Request:
        """The request as the proxy presented it. Never fails: what is absent is empty."""
        attributes = message.attributes
        http = attributes.request.http
        path, _, query = http.path.partition("?")
        headers = _headers(http, self._names)
        wanted = self._inputs.headers
        return Request(
            method=http.method,
            host=http.host,
            path=path,
            headers=tuple((name, headers[name]) for name in sorted(wanted & headers.keys())),
            principal=attributes.source.principal,
            certificate=attributes.source.certificate,
            context=tuple(sorted(attributes.context_extensions.items())),
            metadata=self._metadata(attributes),
            elsewhere=credentials_elsewhere(query, headers.get("cookie", "")),
            rpc=self._rpc(http, headers),
            proxy=proxy,
        )

    def _metadata(self, attributes: pb.AttributeContext) -> tuple[tuple[str, bytes], ...]:
        if not self._inputs.namespaces:
            return ()
        sent = attributes.metadata_context.filter_metadata
        return tuple((name, sent[name]) for name in self._inputs.namespaces if name in sent)

    def _rpc(self, http: pb.HttpRequest, headers: dict[str, str]) -> str:
        if not self._inputs.rpc:
            return ""
        body = http.raw_body or http.body.encode()
        return rpc.method_of(http.method, headers, body)


def _headers(http: pb.HttpRequest, names: frozenset[str]) -> dict[str, str]:
    """The headers of these names; occurrences of one are joined with "," as Envoy does."""
    values = http.headers
    found = {name: values[name] for name in names if name in values}
    if http.HasField("header_map"):
        for header in http.header_map.headers:
            name = header.key.lower()
            if name in names:
                text = _text(header)
                found[name] = f"{found[name]},{text}" if name in found else text
    return found


def _text(header: pb.HeaderValue) -> str:
    # Envoy fills one of the two. Bytes that are no UTF-8 become U+FFFD, which no check lets pass.
    return header.value or header.raw_value.decode("utf-8", "replace")


def request_id(message: pb.CheckRequest) -> str:
    """The client's or proxy's ``x-request-id``, for correlation only; "" without one."""
    return _plain_header(message, "x-request-id")


def trace_id(message: pb.CheckRequest) -> str:
    """The trace id of a W3C ``traceparent``, for correlation only; "" without a valid one."""
    match = _TRACEPARENT.fullmatch(_plain_header(message, "traceparent"))
    return match[1] if match else ""


def _plain_header(message: pb.CheckRequest, name: str) -> str:
    http = message.attributes.request.http
    if name in http.headers:
        return http.headers[name]
    return next((_text(h) for h in http.header_map.headers if h.key == name), "")


def attempt_of(message: pb.CheckRequest) -> bytes:
    """What names the HTTP request: the same when the proxy asks again for it, no client's choice.

    The proxy's id of the stream and the time when it began, to the nanosecond.
    """
    request = message.attributes.request
    return f"{request.http.id} {request.time.seconds} {request.time.nanos}".encode()


class Answer:
    """A decision as wire bytes, into which a decision id of 32 characters still goes.

    A cached decision is one of these: made once, completed with an id for each request. The id has
    its places in the bytes, of the same length, so completing is cutting and joining.
    """

    __slots__ = ("_pieces",)

    def __init__(self, message: pb.CheckResponse) -> None:
        """Take a response that holds ``_ID_PLACE`` wherever the id belongs."""
        self._pieces = message.SerializeToString(deterministic=True).split(_ID_PLACE.encode())

    def complete(self, decision_id: str) -> bytes:
        """The bytes of the CheckResponse with this id: 32 lower-case hex characters."""
        return decision_id.encode("ascii").join(self._pieces)


class Writer:
    """Makes the answers: every CheckResponse comes from here."""

    def __init__(
        self, headers: HeaderSettings, stripped: tuple[str, ...], dpop_algorithms: tuple[str, ...]
    ) -> None:
        """Take the settings, and of the token's the headers to strip and what DPoP proofs may be.

        ``stripped`` names headers that the upstream must not see; ``dpop_algorithms`` are what
        challenges offer.
        """
        self._algs = " ".join(dpop_algorithms)
        self._names = {name: headers.prefix + name for name in _OWNED}
        self._twins = tuple(sorted(set(_underscore_twins(self._names.values()))))
        self._stripped = stripped

    def answer(self, decision: Decision, policy_version: str, cache: str) -> Answer:
        """The answer to a request. ``cache`` ("hit" or "miss") goes to the dynamic metadata."""
        if isinstance(decision, Allow):
            message = self._allowed(decision)
        else:
            message = self._refused(decision)
        _add_metadata(message, decision, policy_version, cache)
        return Answer(message)

    def _allowed(self, allow: Allow) -> pb.CheckResponse:
        message = pb.CheckResponse()
        message.status.code = 0  # the one place that says so
        response = message.ok_response
        values = _identity_values(allow)
        for name, header in self._names.items():
            if values[name]:
                response.headers.append(_header(header, values[name]))
            else:
                response.headers_to_remove.append(header)
        response.headers_to_remove.extend(self._twins)
        response.headers_to_remove.extend(self._stripped)
        if allow.delegation.once is not None and self._stripped:
            response.headers_to_remove.append(DPOP)  # a proof is no good without its token
        return message

    def _refused(self, deny: Deny) -> pb.CheckResponse:
        message = pb.CheckResponse()
        reason = deny.reason
        message.status.code = reason.grpc_code
        message.status.message = reason.code
        denied = message.denied_response
        denied.status.code = reason.http_status
        denied.body = f"{reason.code}: {reason.message}\ndecision: {_ID_PLACE}\n"
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-authz-reason", reason.code),
            *deny.headers,
        ]
        challenge = challenge_for(deny, self._algs)
        if challenge:
            headers.append(("www-authenticate", challenge))
        denied.headers.extend(_header(name, value) for name, value in headers)
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
    """Visible ASCII: what is not, and "%", percent-encoded as UTF-8, so that it can be undone."""
    return quote(value, safe=safe or _VISIBLE.replace(",", ""))


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


def _header(name: str, value: str) -> pb.HeaderValueOption:
    return pb.HeaderValueOption(
        header=pb.HeaderValue(key=name, value=value), append_action=OVERWRITE
    )


def _add_metadata(
    message: pb.CheckResponse, decision: Decision, policy_version: str, cache: str
) -> None:
    agent, delegation = decision.agent, decision.delegation
    is_allow = isinstance(decision, Allow)
    fields: dict[str, str | float] = {
        "decision": "allow" if is_allow else "deny",
        "reason": "" if isinstance(decision, Allow) else decision.reason.code,
        "decision_id": _ID_PLACE,
        "agent": agent.spiffe_id.text if agent else "",
        "principal": delegation.subject if delegation else "",
        "issuer": delegation.issuer if delegation else "",
        "chain": ",".join(actor.subject for actor in delegation.actors[1:]) if delegation else "",
        "rule": decision.grant.agent_rule if isinstance(decision, Allow) else "",
        "policy_version": policy_version,
        "valid_until": decision.valid_until if isinstance(decision, Allow) else 0.0,
        "cache": cache,
    }
    message.dynamic_metadata.update(fields)
