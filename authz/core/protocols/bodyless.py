"""Checks requests that must not have a body, or whose messages are not in the body."""

from authz.core.protocols.message import MessageInput
from authz.core.reason import Denied, Reason


def require_no_upgrade(sent: MessageInput) -> None:
    """Refuse a WebSocket, as no proxy shows its messages. Raises Denied(BODY_UNINSPECTABLE)."""
    if "upgrade" in sent.headers:
        raise Denied(Reason.BODY_UNINSPECTABLE, "messages after an upgrade can't be inspected")


def require_no_body(sent: MessageInput) -> None:
    """Refuse a body if the path is the complete message. Raises Denied(BODY_UNINSPECTABLE)."""
    if sent.body or sent.size or sent.header("content-length") not in (None, "0"):
        raise Denied(Reason.BODY_UNINSPECTABLE, "the request has a body and must have none")
