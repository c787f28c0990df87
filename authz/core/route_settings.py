"""The settings of routes, and the choices in them."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.core.choice import Choice, Need
from authz.core.hosts import HostText
from authz.core.paths import Form
from authz.core.patterns import ANY, PathText
from authz.core.request import MessageProtocol
from authz.core.settings import Duration, MisfitError, Settings
from authz.core.upstream_settings import RouteAssertionSettings, RouteExchangeSettings
from authz.core.upstream_token import UpstreamToken

DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_WORD: Final = r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$"  # as a scope: it goes into a quoted-string
# Settings that apply to messages of one protocol only.
_OF_PROTOCOLS: Final[Mapping[MessageProtocol, tuple[str, ...]]] = {
    MessageProtocol.MCP: ("bootstrap", "trust_mcp_headers", "refusals"),
    MessageProtocol.OPENAI: ("extra_members",),
}
# Settings of what the upstream gets.
_OF_UPSTREAMS: Final[Mapping[str, UpstreamToken]] = {
    "assertion": UpstreamToken.ASSERT,
    "exchange": UpstreamToken.EXCHANGE,
}


class RouteMode(Choice):
    """How agents may act on a route."""

    DELEGATED = "delegated"
    AUTONOMOUS = "autonomous"


class RouteProtocol(Choice):
    """The protocol of a route: plain requests, or messages that are read."""

    HTTP = "http"
    MCP = "mcp"
    A2A = "a2a"
    OPENAI = "openai"

    @property
    def of_messages(self) -> MessageProtocol:
        """The protocol of the messages that are read on the route."""
        return MessageProtocol("" if self is RouteProtocol.HTTP else self.value)


class RefusalForm(Choice):
    """Where a client is told that policy refuses its call."""

    STATUS = "status"
    MESSAGE = "message"


def url_origin(url: str) -> str:
    """Return ``scheme://host:port`` in lower case, without a default port. Raises ValueError."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("a URL must have a host, and no user in front of it")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _resource(text: str) -> str:
    if not re.fullmatch(r"https?://[\x21-\x7e]+", text) or re.search(r"[?#\"\\]", text):
        raise ValueError("a resource must be an https URL without a query or fragment (RFC 8707)")
    url_origin(text)
    return text


class RouteSettings(Settings):
    """A route: how agents may act on some hosts and paths."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")
    """The route's name, for the proxy's context extension authz_route and for `authz metadata`."""
    hosts: tuple[HostText, ...] = Field(default=(ANY,), min_length=1)
    """Exact hosts, lower case and without a port; *.corp.example for one label in front of a
    domain, **.corp.example for one or more; "*" for any.
    """
    paths: tuple[PathText, ...] = Field(default=("/**",), min_length=1)
    """Path templates, as in grants."""
    resource: Annotated[str, AfterValidator(_resource)] | None = None
    """The resource identifier (RFC 8707, RFC 9728): the URL at which clients reach the route. A
    token must be for it; challenges point to its metadata; DPoP proofs must name its origin.
    """
    audiences: tuple[str, ...] = ()
    """Further audiences of tokens for this route. If resource or audiences is set, a token for any
    other audience is refused.
    """
    modes: tuple[RouteMode, ...] = Field(default=(RouteMode.DELEGATED,), min_length=1)
    """delegated: the agent acts for a principal. autonomous: it acts for itself, and the token's
    sub is the agent. With autonomous alone, no token is needed: see token.
    """
    token: Need = Need.OPTIONAL
    """Whether an agent that acts for itself must bring a token. optional: if modes is [autonomous]
    alone, and proof, acr_values and max_age are not used, a request without any credential is the
    agent's own, by its SVID. It may do what the agent's own grants allow without scopes. A
    credential that is sent must still be valid. required, which always holds with other modes: a
    request without a token is refused.
    """
    protocol: RouteProtocol = RouteProtocol.HTTP
    """The protocol of the route. http: rules see host, method and path. mcp, a2a, openai (model
    calls in the form of OpenAI's API): the server reads the messages, so that rules can name tools,
    tasks and models, and refuses any message that it can't read with certainty. The proxy must send
    the body.
    """
    trust_mcp_headers: bool = False
    """For mcp: where the proxy sends no body, trust the headers Mcp-Method and Mcp-Name, in those
    protocol versions that oblige the MCP server to compare them with the body. By setting this you
    vouch that your server does.
    """
    refusals: RefusalForm = RefusalForm.STATUS
    """For mcp: how a call that policy refuses is answered. status: HTTP 403 with a JSON-RPC error.
    message: for policy_denied and method_unknown, HTTP 200 with that error, because some
    clients end their session at a 403. A refusal that another token would mend keeps its status in
    both.
    """
    extra_members: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], ...] = ()
    """For openai: further members of a model call's body, and parameters of its query, that your
    model server or gateway has beside those of the public APIs. List only those that can't change
    the model, the key or the address of the call. All others are refused, because some gateways
    have members that redefine what a model's name stands for.
    """
    bootstrap: tuple[Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")], ...] = ()
    """For mcp: methods that an agent may call without a token, such as initialize and tools/list,
    when a rule without scopes allows them.
    """
    proof: Need = Need.OPTIONAL
    """required: a token must be bound to a key (cnf), and the caller must prove that it holds the
    key.
    """
    acr_values: tuple[Annotated[str, Field(pattern=_WORD)], ...] = ()
    """The token's acr must be one of these authentication contexts (RFC 9470)."""
    max_age: Duration | None = Field(default=None, ge=1.0)
    """The longest time since the principal authenticated, by the token's auth_time (RFC 9470)."""
    upstream_token: UpstreamToken | None = None
    """What the upstream of this route gets. strip: no token, and no DPoP proof. forward: the
    client's token, with which the upstream could act as the agent. assert: an assertion of the
    decision, signed by this server, in place of the token. exchange: a token for this upstream
    alone, from the issuer's token endpoint, in place of the client's. upstream_token of the
    request's profile comes first; if neither is set, token.forward decides.
    """
    assertion: RouteAssertionSettings | None = None
    """For upstream_token: assert, whom the assertion is for, and what it may hold."""
    exchange: RouteExchangeSettings | None = None
    """For upstream_token: exchange, where to exchange the token, and for what."""
    accept_ambiguous: tuple[Form, ...] = ()
    """Ambiguous forms of paths, which servers read differently, to accept on this route; elsewhere
    they are refused. By listing a form you vouch that the upstream, and each proxy before it,
    reads it so: double_encoding, %25 is a percent sign and nothing is decoded twice;
    empty_segments, the empty segment in // stays and is not merged; escaped_backslash and
    escaped_slash, %5C and %2F are part of a name and separate nothing; escaped_dot, %2E is a dot in
    a name, so that a%2Eb is a.b for all who look at it; escaped_number_sign and
    escaped_question_mark, %23 and %3F are part of a name, and nobody takes what follows for a
    fragment or query; escaped_semicolon, %3B is part of a name and begins no parameters;
    parameters, ;x and %3Bx are part of a name and not cut off. If that is wrong, the upstream
    serves a path that no rule or route here has checked.
    """

    @property
    def takes_svid_alone(self) -> bool:
        """Whether a request without any credential is the agent's own, by its SVID."""
        asks = self.acr_values or self.max_age is not None
        needs_none = Need.REQUIRED not in (self.token, self.proof) and not asks
        return needs_none and set(self.modes) == {RouteMode.AUTONOMOUS}

    @model_validator(mode="after")
    def _optional_means_something(self) -> Self:
        is_said = "token" in self.model_fields_set and self.token is Need.OPTIONAL
        if is_said and not self.takes_svid_alone:
            raise MisfitError(
                "a token is required here: optional needs modes: [autonomous] alone, and neither"
                " proof: required, acr_values nor max_age",
                "token",
            )
        return self

    @model_validator(mode="after")
    def _a_credential_is_for_somebody(self) -> Self:
        for key, gets in _OF_UPSTREAMS.items():
            if getattr(self, key) is not None and self.upstream_token is not gets:
                raise MisfitError(f"it is only for upstream_token: {gets}", key)
        if self.upstream_token is UpstreamToken.EXCHANGE and self.exchange is None:
            raise MisfitError("upstream_token: exchange needs exchange", "upstream_token")
        if self.upstream_token is UpstreamToken.ASSERT and not self.assertion_audience:
            message = (
                "upstream_token: assert needs resource, or audience of assertion: whom the"
                " assertion is for"
            )
            raise MisfitError(message, "upstream_token")
        return self

    @property
    def assertion_audience(self) -> str:
        """Return for whom this route's assertions are, "" if nothing says it."""
        said = self.assertion.audience if self.assertion is not None else None
        return said or self.resource or ""

    @model_validator(mode="after")
    def _some_settings_are_of_a_protocol(self) -> Self:
        for protocol, names in _OF_PROTOCOLS.items():
            given = sorted(self.model_fields_set.intersection(names))
            if self.protocol.of_messages is not protocol and given:
                raise MisfitError(f"{', '.join(given)} is only for protocol: {protocol}", given[0])
        return self
