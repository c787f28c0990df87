"""A presentation beside the config that reads it, and what the doctor finds about them."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from authz.config import Config
from authz.core.identity import ProfileSettings
from authz.core.identity.settings import DEFAULT
from authz.core.route_settings import RouteSettings
from authz.edge.presentation import EXT_AUTHZ, Kept, Presentation


class Severity(StrEnum):
    """How bad a finding is: requests are refused, something is at risk, or it may be meant."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Product(StrEnum):
    """A proxy, in whose words a cure is told."""

    ENVOY = "Envoy"
    ISTIO = "Istio"
    ENVOY_GATEWAY = "Envoy Gateway"
    AGENTGATEWAY = "agentgateway"


class Cures(TypedDict, total=False):
    """What would be right, in the words of each product: the members of Product in lower case."""

    envoy: str
    istio: str
    envoy_gateway: str
    agentgateway: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is set wrongly, on the proxy's side or here.

    Attributes:
        code: a stable name.
        about: the checks that it is about; "" for the server.
        cause: what is wrong, and what follows.
        cures: what would be right, by the proxy in whose words it is said.
        here: what would be right in the config of agent-authz, "" for nothing.
    """

    severity: Severity
    code: str
    about: str
    cause: str
    cures: tuple[tuple[Product, str], ...] = ()
    here: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the lines for a person."""
        yield f"{self.severity}: {self.about}: {self.cause} [{self.code}]"
        for product, cure in self.cures:
            yield f"    {product}: {cure}"
        if self.here:
            yield f"    here: {self.here}"

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            "severity": self.severity.value,
            "code": self.code,
            "about": self.about,
            "cause": self.cause,
            "cures": {product.value: cure for product, cure in self.cures},
            "here": self.here,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of check that a proxy makes, and the config."""

    config: Config
    kept: Kept

    @property
    def seen(self) -> Presentation:
        """The last presentation."""
        return self.kept.last

    @property
    def profile(self) -> ProfileSettings | None:
        """The profile that applies; None if the config has none of its name."""
        name = self.seen.profile
        return self.config.profiles.get(name, ProfileSettings() if name == DEFAULT else None)

    @property
    def route(self) -> RouteSettings | None:
        """The route that applies; None for the defaults."""
        return next((one for one in self.config.routes if one.name == self.seen.route), None)

    @property
    def is_ext_authz(self) -> bool:
        """Tell whether it is an ext_authz check, rather than one of guardrails."""
        return self.seen.protocol == EXT_AUTHZ

    @property
    def is_of_agentgateway(self) -> bool:
        """Tell whether agentgateway asks: its ids are hex, Envoy's are decimal."""
        return not self.is_ext_authz or self.seen.id_form == "hex"

    @property
    def about(self) -> str:
        """The kind of check, in words."""
        seen = self.seen
        route = f", route {seen.route}" if seen.route else ""
        proxy = seen.proxy or "a proxy without a certificate"
        return f"{seen.protocol} from {proxy}, profile {seen.profile or '?'}{route}"

    def error(self, code: str, cause: str, *, here: str = "", **cures: Unpack[Cures]) -> Finding:
        """Return an error, with the cures of the products that may be asking."""
        return self._found(Severity.ERROR, code, cause, here, cures)

    def warning(self, code: str, cause: str, *, here: str = "", **cures: Unpack[Cures]) -> Finding:
        """Return a warning, likewise."""
        return self._found(Severity.WARNING, code, cause, here, cures)

    def note(self, code: str, cause: str, *, here: str = "", **cures: Unpack[Cures]) -> Finding:
        """Return a note, likewise."""
        return self._found(Severity.NOTE, code, cause, here, cures)

    def _found(self, severity: Severity, code: str, cause: str, here: str, cures: Cures) -> Finding:
        told = [(Product[name.upper()], str(cure)) for name, cure in cures.items()]
        of_agentgateway = self.is_of_agentgateway
        mine = [one for one in told if (one[0] is Product.AGENTGATEWAY) == of_agentgateway]
        return Finding(severity, code, self.about, cause, tuple(mine), here)
