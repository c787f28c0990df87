"""The headers of MCP: the version, and the method and name that mirror the body's.

"Standard Request Headers", "Value Encoding" and "Server Validation" of the revision 2026-07-28 of
Streamable HTTP. Earlier revisions have no mirrored headers; a header that is sent must still be
true.
"""

import re
from base64 import b64decode, b64encode
from typing import Final

from authz.core.protocols import jsonrpc
from authz.core.protocols.jsonrpc import JsonRpcMessage
from authz.core.protocols.mcp_methods import MEMBERS, METHODS
from authz.core.protocols.message import MessageInput
from authz.core.reason import Denied, Reason

# Methods whose target's name a header mirrors, which servers compare.
_NAMED: Final = frozenset({name for name, method in METHODS.items() if method.is_mirrored})
_METHOD_HEADER: Final = "mcp-method"
_NAME_HEADER: Final = "mcp-name"
VERSION_HEADER: Final = "mcp-protocol-version"
_MCP_HEADERS: Final = frozenset({_METHOD_HEADER, _NAME_HEADER, VERSION_HEADER})
_VERSION: Final = re.compile(r"[0-9A-Za-z._-]{1,32}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# The revisions with an error that asks for URL mode elicitations. The next one has results instead,
# which need a capability that the client declares in each request.
HAVE_URL_ERROR: Final = frozenset({"2025-11-25"})
_FIRST_MIRRORED: Final = "2026-07-28"  # the first revision with headers that mirror the body
_VALIDATED: Final = frozenset({"2026-07-28"})  # known to oblige servers to compare them
_BATCHED: Final = frozenset({"", "2025-03-26"})  # without a version servers assume this one
_VERSION_MEMBER: Final = "io.modelcontextprotocol/protocolVersion"
_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=")  # lower-case only


def require_batches(sent: MessageInput) -> None:
    """Refuse a batch where the version has none. Raises Denied(MESSAGE_INVALID)."""
    if _version(sent) not in _BATCHED:
        raise Denied(Reason.MESSAGE_INVALID, "this version of the protocol has no batches")


def require_agreement(
    sent: MessageInput, message: JsonRpcMessage, name: str, *, is_whole: bool = True
) -> None:
    """Refuse headers that contradict the message, or lack what the version requires.

    Args:
        sent: with the headers.
        message: what the body holds.
        name: of the message's target, "" where that is the server.
        is_whole: whether all of the body's params are known.

    Raises Denied: MCP_HEADER_MISMATCH, MESSAGE_INVALID for a response where clients of the version
    send none, MESSAGE_PARAMS for a ``_meta`` that is not an object.
    """
    version = _version(sent)
    is_mirrored = _is_mirrored(version)
    if is_mirrored and not message.method:
        raise Denied(Reason.MESSAGE_INVALID, "clients of this version send no responses")
    # The revision does not say which headers notifications have.
    is_required = is_mirrored and message.id != b""
    _require_method(sent, message, is_required=is_required)
    _require_name(sent, message, name, is_required=is_required)
    if is_whole:
        # Clients of the older SSE transport send no MCP header, in whatever revision they speak.
        is_bare = not sent.headers.keys() & _MCP_HEADERS
        _require_version(None if is_bare else version, message, is_required=is_required)


def trusted_method(sent: MessageInput) -> str:
    """Return ``Mcp-Method``, if the version has servers compare it with the body.

    Raises Denied(MCP_UNTRUSTED_HEADERS | MCP_HEADER_MISMATCH | MESSAGE_INVALID).
    """
    if _version(sent) not in _VALIDATED:
        detail = "the version obliges no server to compare headers with the body"
        raise Denied(Reason.MCP_UNTRUSTED_HEADERS, detail)
    method = sent.header(_METHOD_HEADER)
    if method is None:
        raise _mismatch("Mcp-Method is missing")
    _require_once(_METHOD_HEADER, method)
    return jsonrpc.method_name(method)


def trusted_name(sent: MessageInput) -> str | None:
    """Return ``Mcp-Name`` where no body confirms it. Raises Denied(MCP_HEADER_MISMATCH)."""
    _require_once(_NAME_HEADER, sent.header(_NAME_HEADER) or "")
    return name(sent)


def name(sent: MessageInput) -> str | None:
    """Return ``Mcp-Name``, decoded, None if not sent. Raises Denied(MCP_HEADER_MISMATCH)."""
    value = sent.header(_NAME_HEADER)
    if value is None:
        return None
    if not value.isascii():
        raise _mismatch("Mcp-Name is not ASCII")
    encoded = _ENCODED.fullmatch(value)
    if encoded is None:
        return value
    try:
        data = b64decode(encoded[1], validate=True)
        text = data.decode("utf-8")
    except ValueError:
        raise _mismatch("Mcp-Name is not UTF-8 in base64") from None
    if b64encode(data).decode() != encoded[1]:  # another spelling of the same: readers differ
        raise _mismatch("Mcp-Name is not canonical base64")
    return text


def _require_once(header: str, value: str) -> None:
    """Refuse a value that may be two headers, of which a server takes one; base64 has no comma."""
    if "," in value:
        raise _mismatch(
            f"{header} may have been sent twice, and no body shows which value is meant"
        )


def _version(sent: MessageInput) -> str:
    """Return ``MCP-Protocol-Version``, "" when it was not sent."""
    version = sent.header(VERSION_HEADER)
    if version is None:
        return ""
    if not _VERSION.fullmatch(version):
        raise _mismatch("MCP-Protocol-Version is not exactly one version")
    return version


def _is_mirrored(version: str) -> bool:
    return version >= _FIRST_MIRRORED and _DATE.fullmatch(version) is not None


def _require_method(sent: MessageInput, message: JsonRpcMessage, *, is_required: bool) -> None:
    value = sent.header(_METHOD_HEADER)
    if value is None:
        if is_required:
            raise _mismatch("Mcp-Method is missing")
    elif value != message.method:
        raise _mismatch("Mcp-Method is not the body's method")


def _require_name(
    sent: MessageInput, message: JsonRpcMessage, target: str, *, is_required: bool
) -> None:
    value = name(sent)
    if value is None:
        if is_required and message.method in _NAMED:
            raise _mismatch("Mcp-Name is missing")
    elif value not in ([target] if target else map(message.params.get, MEMBERS)):
        raise _mismatch("Mcp-Name is not the name in the body")


def _require_version(version: str | None, message: JsonRpcMessage, *, is_required: bool) -> None:
    """Refuse a body of another revision than the header's; None if there are no MCP headers."""
    meta = message.params.get("_meta")
    if meta is not None and not isinstance(meta, dict):
        raise Denied(Reason.MESSAGE_PARAMS, "_meta is not an object")
    if meta is not None and _VERSION_MEMBER in meta:
        if version is not None and meta[_VERSION_MEMBER] != version:
            raise _mismatch("MCP-Protocol-Version is not the body's version")
    elif is_required:
        raise _mismatch("the body does not give the version")


def _mismatch(detail: str) -> Denied:
    return Denied(Reason.MCP_HEADER_MISMATCH, detail)
