"""Readers of the messages that agents send: each request read as the calls that it makes.

A route says which protocol its messages are in. A message that the server behind could read in
another way than we do is refused with a reason of its own: a body that is cut, encoded, doubled or
at odds with its headers, a batch where the protocol has none. Pure: nothing here decides whether a
call is allowed.
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
    """Return a request's message. Never raises Denied: a message of uncertain meaning says why."""
    try:
        return _READERS[protocol](sent)
    except Denied as denied:
        return Message((), unread=Unread(denied.reason, denied.detail))
