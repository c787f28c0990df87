"""What a proxy's config takes from ours: where to ask, which profile, and whose names are whose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from authz.adapters.assertions import assertion_header
from authz.config import Config
from authz.core.identity.settings import DEFAULT, ProfileSettings, Source
from authz.core.patterns import PathText
from authz.core.request import DPOP
from authz.core.routes import PROFILE
from authz.edge.header_settings import owned_headers
from authz.edge.identity_headers import spellings
from authz.edge.inputs import MAX_REQUEST_BYTES
from authz.review.gateways.errors import GatewayError
from authz.starter.config_text import yaml_text

HostPort = tuple[str, int]
_UNIX: Final = "unix:"
_WILD: Final = ("0.0.0.0", "[::]", "*")  # noqa: S104 - where a server listens, and no proxy can ask
_LOOPBACK: Final = {"[::1]": "localhost"}  # agentgateway reads no IPv6 address here
MAX_BODY_BYTES: Final = 65536  # of a body that a proxy sends, and that agent-authz reads


@dataclass(frozen=True, slots=True)
class Address:
    """An address of ``server.listen``, as a proxy on the same machine reaches it.

    Attributes:
        path: of a unix socket; "" for host and port.
        host, port: "" and 0 for a unix socket.
        has_tls: whether the server wants the proxy's certificate there.
    """

    path: str
    host: str
    port: int
    has_tls: bool

    @property
    def text(self) -> str:
        """The address as ``server.listen`` has it."""
        return f"{_UNIX}{self.path}" if self.path else f"{self.host}:{self.port}"


def addresses(config: Config, profile: str, server: HostPort | None = None) -> list[Address]:
    """Return where a proxy of this profile asks: at each worker, all with TLS or all without.

    ``server`` is where it reaches all of them, such as a Service, in place of ``server.listen``.

    Raises GatewayError if the profile is for proxies with certain certificates, and the server asks
    for none.
    """
    workers = range(config.server.workers)
    texts = [text for worker in workers for text in config.server.of_worker(worker).listen]
    if server is not None:
        texts = [":".join(map(str, server))]
    listed = [_address(text, has_tls=config.server.tls is not None) for text in texts]
    needs_tls = bool(profile in config.profiles and config.profiles[profile].callers)
    if needs_tls and not any(address.has_tls for address in listed):
        raise GatewayError(
            f"profiles.{profile}.callers are known by their certificate only: set server.tls, and "
            "an address host:port in server.listen"
        )
    has_tls = needs_tls or listed[0].has_tls
    return [address for address in listed if address.has_tls is has_tls]


def _address(text: str, *, has_tls: bool) -> Address:
    if text.startswith(_UNIX):
        return Address(text.removeprefix(_UNIX), "", 0, has_tls=False)
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host in _WILD else _LOOPBACK.get(host, host)
    return Address("", host, int(port), has_tls)


def profile_with(config: Config, sources: Sequence[Source]) -> tuple[str, ProfileSettings]:
    """Return the profile of a proxy that names the caller in one of these places, and its name.

    It is the default profile, or the first that fits. Raises GatewayError if none does.
    """
    profiles = {DEFAULT: config.profiles.get(DEFAULT, ProfileSettings()), **config.profiles}
    for name, profile in profiles.items():
        if profile.identity in sources:
            return name, profile
    wanted = " or ".join(sources)
    raise GatewayError(
        f"profiles: none has identity: {wanted}, which this proxy needs; "
        f"add one, such as default: {{identity: {sources[0]}}}"
    )


def context_extensions(profile: str, *, has_body: bool) -> str:
    """Return the context extensions of a check in YAML's flow style; "" for none.

    A proxy does not always say that it cut a body. So it says its limit where it sends bodies, and
    one that fills the limit is refused.
    """
    context = {
        **({PROFILE: yaml_text(profile)} if profile != DEFAULT else {}),
        **({MAX_REQUEST_BYTES: f'"{MAX_BODY_BYTES}"'} if has_body else {}),
    }
    flow = ", ".join(f"{name}: {value}" for name, value in context.items())
    return f"{{{flow}}}" if context else ""


def names_to_remove(config: Config) -> list[str]:
    """Return the headers that no client may set, each with the spellings that a server reads alike.

    These are the identity headers, that of assertions, those that rules give to the upstream, and
    those of ``headers.remove``, without its prefixes.
    """
    rules = (rule for grant in config.grants.values() for rule in grant)
    added = {name for rule in rules for name in rule.add_headers}
    listed = set(config.headers.removed_names)
    prefix = config.headers.prefix
    owned = owned_headers(prefix).union(filter(None, [assertion_header(config.assertions, prefix)]))
    return spellings(sorted(owned | added | listed))


def credentials(config: Config) -> list[str]:
    """Return the headers with the token and its proof."""
    return list(dict.fromkeys([config.token.header, DPOP]))


def exact_paths(paths: tuple[PathText, ...]) -> Iterator[str]:
    """Yield the paths without a pattern in them."""
    yield from (path for path in paths if not {"*", "{", "}"} & set(path))
