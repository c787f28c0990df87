"""The ``headers`` section of the config: identity headers, and names that upstreams never see."""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from authz.core.request import DPOP
from authz.core.settings import MisfitError, Settings

OWNED: Final = ("id", "principal", "issuer", "scope", "chain", "decision-id")
_ANY: Final = "*"
# What a message can't do without: its host, its length and the connection (RFC 9110 sections 7.2
# and 7.6.1, RFC 9112 section 6).
_NEEDED: Final = (
    *("host", "content-length", "transfer-encoding", "connection", "keep-alive"),
    *("proxy-connection", "te", "trailer", "upgrade"),
)
# What proxies write for upstreams: a prefix of ours that covers these takes them from everybody.
_OF_PROXIES: Final = ("x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-envoy-")
_OF_REQUESTS: Final = ("accept-", "content-type", "user-agent", "sec-", "cache-control")
# As the names of added headers: each "-" doubles the spellings with "_" that every answer removes.
RemovedName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,6}(-?\*)?$")]


class HeaderSettings(Settings):
    """The identity headers that upstreams receive, and headers that they never see."""

    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}-$")] = "x-agent-"
    """The prefix of their names. No client can send a header whose name begins with it: allowed
    requests lose those that the server does not set itself, in any spelling that a CGI server reads
    alike (x_agent_roles, x.agent.roles). Rules still see such a header, the upstream does not.
    """
    remove: tuple[RemovedName, ...] = ()
    """Further headers to remove from every allowed request, in lower case: x-forwarded-user, or a
    prefix with * at its end, such as x-auth-request-*. Other spellings that a CGI server reads
    alike are removed as well. Rules still see them. Behind Envoy, allow_expression must permit it,
    else Envoy answers 500.
    """

    @property
    def removed_names(self) -> tuple[str, ...]:
        """Return the names of ``remove``, without its prefixes."""
        return tuple([name for name in self.remove if not name.endswith(_ANY)])

    @property
    def removed_prefixes(self) -> tuple[str, ...]:
        """Return our prefix, and those of ``remove``."""
        listed = [name.removesuffix(_ANY) for name in self.remove if name.endswith(_ANY)]
        return (self.prefix, *listed)

    @model_validator(mode="after")
    def _no_header_that_requests_need(self) -> Self:
        for name in (*_OF_PROXIES, *_OF_REQUESTS, *_NEEDED):
            if covers(self.prefix + _ANY, name):
                message = (
                    f"it covers {name}, which allowed requests would lose: choose a longer one"
                )
                raise MisfitError(message, "prefix")
        for at, listed in enumerate(self.remove):
            if fault := self._fault_of(listed):
                raise MisfitError(fault, "remove", at)
        return self

    def _fault_of(self, listed: str) -> str:
        """Say why a listed name can't be removed, "" if it can."""
        for name in _NEEDED:
            if covers(listed, name):
                return f"a request can't do without {name}"
        if covers(listed, DPOP):
            return "dpop is removed with the token, as token.forward says"
        if listed in owned_headers(self.prefix):
            return "it is one of the identity headers, which clients can't set anyway"
        return ""


def owned_headers(prefix: str) -> frozenset[str]:
    """Return the names of the identity headers."""
    return frozenset(prefix + name for name in OWNED)


def covers(listed: str, name: str) -> bool:
    """Tell whether an item of ``remove`` removes the header of this name."""
    if listed.endswith(_ANY):
        return name.startswith(listed.removesuffix(_ANY))
    return listed == name
