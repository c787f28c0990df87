"""What agents really send: a request's message, read as the calls that it makes, or not at all.

A route says which protocol its messages are in. What a server behind could read in another way than
we do is not read, and refused with a reason of its own: a body that is cut, encoded, doubled or at
odds with its headers, a batch where the protocol has none. Pure: nothing here decides who may.
"""

from collections.abc import Callable, Mapping
from typing import Final

from authz.core.protocols import a2a, mcp, openai
from authz.core.protocols.message import HEADERS, Message, MessageInput
from authz.core.reason import Denied
from authz.core.request import MessageProtocol, Unread

__all__ = ["HEADERS", "Message", "MessageInput", "read"]
_READERS: Final[Mapping[MessageProtocol, Callable[[MessageInput], Message]]] = {
    MessageProtocol.MCP: mcp.read,
    MessageProtocol.A2A: a2a.read,
    MessageProtocol.OPENAI: openai.read,
}


def read(protocol: MessageProtocol, sent: MessageInput) -> Message:
    """The calls of a request's message. Never raises: what has no certain meaning says why."""
    try:
        return _READERS[protocol](sent)
    except Denied as denied:
        return Message((), unread=Unread(denied.reason, denied.detail))
