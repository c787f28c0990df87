"""What a client may ask for after a refusal: the principal's approval of the very call it made."""

import msgspec


class ApprovalRequest(msgspec.Struct, frozen=True, gc=False):
    """The approval that a refused call needs. It goes back to the client that made the call.

    Attributes:
        type: of the element of ``authorization_details`` (RFC 9396) that approves the call.
        element: that element, as JSON. It holds arguments of the call.
        about: the call in words for people: its method and its target.
        url: where the principal can approve, for clients that open URLs; "" for none.
    """

    type: str
    element: bytes
    about: str = ""
    url: str = ""

    def __repr__(self) -> str:
        """Return no argument, so that no log line can hold one."""
        return f"ApprovalRequest(type={self.type!r})"
