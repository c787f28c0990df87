r"""The values of a request that conditions may read.

The library reads a text up to its first NUL only, so that a claim "admin\0x" would be equal to
"admin"; and it has no numbers beyond 64 bits. If it can't represent a fact, every condition fails.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Final

from authz.core.conditions.cel import ConditionFailedError, activation
from authz.core.conditions.compared_types import Compared, Step
from authz.core.conditions.variables import ARGUMENTS, NAME
from authz.core.decision import Agent, Delegation
from authz.core.delegation import TokenSettings
from authz.core.delegation.credential import token_reads
from authz.core.distributed_claims import EVERY, ClaimNames, external_claims, is_external
from authz.core.identity.sources import IDENTITY_HEADERS
from authz.core.paths import written_path
from authz.core.request import Call, Operation, Request
from authz.core.strict_json import (
    MAX_DEPTH,
    StrictJsonError,
    has_children,
    loads,
    nested_values,
    of_type,
)

_OF_OTHERS: Final = frozenset(  # credentials that no module here reads
    {
        "client-cert",  # RFC 9440
        "client-cert-chain",
        "cookie",
        "proxy-authorization",
        "signature",  # RFC 9421
        "txn-token",
        "workload-identity-token",
        "workload-proof-token",
    }
)
# If token.header names another header, the config refuses that one too.
WITHHELD_HEADERS: Final = _OF_OTHERS | IDENTITY_HEADERS | token_reads(TokenSettings()).withheld
_MAX_INT: Final = 2**63 - 1  # CEL's int has 64 bits
_TYPES: Final = frozenset({str, int, float, bool, type(None), list, dict})


class Facts:
    """What conditions may read of a request; converted for the library on first use."""

    __slots__ = (
        "_activation",
        "_agent",
        "_claims",
        "_delegation",
        "_elsewhere",
        "_headers",
        "_listed",
        "_operation",
        "_request",
        "_values",
    )

    def __init__(
        self,
        agent: Agent,
        delegation: Delegation,
        operation: Operation,
        request: Request,
        *,
        headers: Collection[str] = (),
        claims: Collection[str] | None = None,
        credential_header: str = "authorization",
    ) -> None:
        """Begin unconverted; ``headers`` and ``claims`` are the names that may be read.

        ``claims`` None is all claims. ``credential_header`` carries the token: it is never
        readable, listed or not.
        """
        self._agent = agent
        self._delegation = delegation
        self._operation = operation
        self._request = request
        self._headers = frozenset(headers) - WITHHELD_HEADERS - {credential_header}
        self._listed = (*delegation.claims, EVERY) if claims is None else claims
        self._claims = (
            delegation.claims
            if claims is None
            else {name: delegation.claims[name] for name in claims if name in delegation.claims}
        )
        self._activation: object = None
        self._values: Mapping[str, object] = {}
        self._elsewhere: ClaimNames | None = None

    def check_here(self, names: Collection[str] | None) -> None:
        """Check that claims are in the token itself; ``names`` None means all readable claims.

        Raises ConditionFailedError if the token says that any of them is elsewhere.
        """
        if self._elsewhere is None:
            self._elsewhere = external_claims(self._delegation.claims)
        if not self._elsewhere:
            return
        for name in self._listed if names is None else names:
            if is_external(name, self._elsewhere):
                raise ConditionFailedError(f"the token says that the claim {name} is elsewhere")

    def check_kinds(self, compared: Compared) -> None:
        """Check that a compared part has an expected type, or is missing.

        Raises ConditionFailedError.
        """
        variable, *steps = compared.path
        if not compared.fits(self._values.get(str(variable))):
            name = ".".join([str(variable), *(_step_text(step) for step in steps)])
            raise ConditionFailedError(
                f"{name} has another type than the value it is compared with"
            )

    def activation(self) -> object:
        """Return the library's form of the values.

        Raises ConditionFailedError if the library can't represent them.
        """
        if self._activation is None:
            self._values = self.values()
            _check(self._values.values())
            self._activation = activation(self._values)
        return self._activation

    def values(self) -> dict[str, object]:
        """Return the values by the names of ``VARIABLES``, unchecked, without unknown ones.

        Raises ConditionFailedError for unreadable arguments.
        """
        agent, delegation, operation = self._agent, self._delegation, self._operation
        call = operation.call or _NO_CALL
        name = {} if call.hides_name else {NAME: call.name}
        arguments = {ARGUMENTS: _arguments(call.arguments)} if call.arguments else {}
        return {
            "agent.id": agent.spiffe_id.text,
            "agent.trust_domain": agent.spiffe_id.trust_domain.name,
            "agent.path": list(agent.spiffe_id.segments),
            "principal.id": delegation.subject,
            "principal.issuer": delegation.issuer,
            "claims": dict(self._claims),
            "delegation.mode": str(delegation.mode),  # the library takes no subclass of str
            "delegation.scopes": sorted(delegation.scopes),
            "delegation.actors": [actor.subject for actor in delegation.actors],
            "delegation.depth": len(delegation.actors),
            "request.method": operation.method,
            "request.host": operation.host,
            "request.path": written_path(operation.path),
            "request.segments": list(operation.path),
            "request.headers": {
                name: value for name, value in self._request.headers if name in self._headers
            },
            "operation.protocol": str(operation.protocol),
            "operation.method": call.method,
            "operation.kind": str(call.kind),
            "operation.tools": list(call.tools),
            "operation.streaming": call.is_streaming,
            **name,
            **arguments,
        }


def _step_text(step: str | Step) -> str:
    return step.value if isinstance(step, Step) else step


_NO_CALL: Final = Call("")


def _arguments(data: bytes) -> object:
    """Parse the arguments that a message's reader kept. Raises ConditionFailedError."""
    try:
        value = loads(data)
    except StrictJsonError as error:
        raise ConditionFailedError(f"the arguments can't be read: {error}") from None
    if not isinstance(value, dict):
        raise ConditionFailedError("the arguments are not a JSON object")
    return value


def _check(values: Iterable[object]) -> None:
    """Refuse values that the library would change or fail on. Raises ConditionFailedError.

    Runs level by level, mostly in C: a body or a token may hold thousands of values.
    """
    level = list(values)
    for left in range(MAX_DEPTH, -1, -1):
        if not level:
            return
        if not _TYPES.issuperset(map(type, level)):
            raise ConditionFailedError("the request's facts hold something that is not JSON")
        _check_text("".join(of_type(str, level)))
        numbers = of_type(int, level)
        if numbers and not -_MAX_INT - 1 <= min(numbers) <= max(numbers) <= _MAX_INT:
            raise ConditionFailedError("a number of the request's facts is beyond 64 bits")
        names = list(chain.from_iterable(of_type(dict, level)))
        if len(of_type(str, names)) < len(names):
            raise ConditionFailedError("a member's name in the request's facts is not text")
        _check_text("".join(names))
        if not left and has_children(level):
            raise ConditionFailedError("the request's facts are nested too deeply")
        level = nested_values(level)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ConditionFailedError("a text of the request's facts holds a NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConditionFailedError("a text of the request's facts is not Unicode") from None
