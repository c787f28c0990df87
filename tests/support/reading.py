"""Requests and claims that record what a part of the product really reads of them."""

from typing import Self

import msgspec

from authz.core.decision import Delegation
from authz.core.distributed_claims import external_claim_marks
from authz.core.reads import Reads
from authz.core.request import Request


class WatchedRequest(Request, frozen=True):
    """A request that keeps the names of the headers that were read."""

    looked_for: set[str] = msgspec.field(default_factory=set)

    @classmethod
    def of(cls, request: Request) -> Self:
        """Make a watched copy of a request."""
        return cls(*(getattr(request, name) for name in Request.__struct_fields__))

    def header(self, name: str) -> str | None:
        """Note the name, and return what Request does."""
        self.looked_for.add(name)
        return Request.header(self, name)


class WatchedClaims(dict[str, object]):
    """Claims that keep the names that were read, except those that say claims are elsewhere."""

    def __init__(self, claims: dict[str, object]) -> None:
        """Begin with nothing read."""
        super().__init__(claims)
        self.looked_for: set[str] = set()

    def _note(self, name: str) -> None:
        if not external_claim_marks({name: ""}):
            self.looked_for.add(name)

    def get(self, name: str, default: object = None) -> object:
        """Note the name, and do as dict."""
        self._note(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> object:
        """Note the name, and do as dict."""
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        """Note the name, and do as dict."""
        self._note(str(name))
        return super().__contains__(name)


def only(request: Request, reads: Reads) -> Request:
    """Return the request without the headers and the metadata that are not declared."""
    return msgspec.structs.replace(
        request,
        headers=tuple(pair for pair in request.headers if pair[0] in reads.all_headers),
        metadata=tuple(pair for pair in request.metadata if pair[0] in reads.namespaces),
    )


def only_claims(delegation: Delegation, reads: Reads) -> Delegation:
    """Return the delegation without the claims that are not declared."""
    claims = delegation.claims
    kept = {
        name: claims[name]
        for name in claims
        if name in reads.claims or external_claim_marks({name: ""})
    }
    return msgspec.structs.replace(delegation, claims=kept)
