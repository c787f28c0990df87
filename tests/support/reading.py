"""What a part of the product really reads of a request and of claims, as these tell it."""

from typing import Self

import msgspec

from authz.core.decision import Delegation
from authz.core.distributed_claims import external_claim_marks
from authz.core.reads import Reads
from authz.core.request import Request


class WatchedRequest(Request, frozen=True):
    """A request that keeps the names of the headers that were looked for."""

    looked_for: set[str] = msgspec.field(default_factory=set)

    @classmethod
    def of(cls, request: Request) -> Self:
        """The same request, watched."""
        return cls(*(getattr(request, name) for name in Request.__struct_fields__))

    def header(self, name: str) -> str | None:
        """As Request."""
        self.looked_for.add(name)
        return Request.header(self, name)


class WatchedClaims(dict[str, object]):
    """Claims that keep the names that were looked for, but those that say claims are elsewhere."""

    def __init__(self, claims: dict[str, object]) -> None:
        """Take the claims."""
        super().__init__(claims)
        self.looked_for: set[str] = set()

    def _note(self, name: str) -> None:
        if not external_claim_marks({name: ""}):
            self.looked_for.add(name)

    def get(self, name: str, default: object = None) -> object:
        """As dict."""
        self._note(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> object:
        """As dict."""
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        """As dict."""
        self._note(str(name))
        return super().__contains__(name)


def only(request: Request, reads: Reads) -> Request:
    """The request without the headers and the metadata that are not declared."""
    return msgspec.structs.replace(
        request,
        headers=tuple(one for one in request.headers if one[0] in reads.all_headers),
        metadata=tuple(one for one in request.metadata if one[0] in reads.namespaces),
    )


def only_claims(delegation: Delegation, reads: Reads) -> Delegation:
    """The delegation without the claims that are not declared."""
    claims = delegation.claims
    kept = {
        name: claims[name]
        for name in claims
        if name in reads.claims or external_claim_marks({name: ""})
    }
    return msgspec.structs.replace(delegation, claims=kept)
