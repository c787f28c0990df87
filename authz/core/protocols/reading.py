"""Reads a message in the protocol that its route names."""

from collections.abc import Callable, Mapping
from typing import Final

from authz.core.protocols import a2a, mcp, openai
from authz.core.protocols.message import Message, MessageInput
from authz.core.reason import Denied
from authz.core.request import MessageProtocol, Unread

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
