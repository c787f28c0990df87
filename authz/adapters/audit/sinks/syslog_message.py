"""Writes a line as a syslog message (RFC 5424), framed by its length (RFC 5425, RFC 6587)."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from authz import __version__
from authz.adapters.audit.sinks.line_facts import REMEMBERED, LineFacts, end_of, facts_of, parts_of

APP_NAME: Final = "agent-authz"
MAX_SEQUENCE_ID: Final = 2**31 - 1  # RFC 5424 section 7.3.1, which then begins again with 1
NIL: Final = "-"  # RFC 5424 section 6: a field without a value
_WARNING: Final = 4  # RFC 5424 section 6.2.1
_INFORMATIONAL: Final = 6
_VERSION: Final = 1
# RFC 5424 section 6.2.3: up to six digits of a second, and T and Z in upper case.
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"
)
_NOT_PRINTABLE: Final = re.compile(r"[^!-~]")  # PRINTUSASCII is 33 to 126
_MAX_HOSTNAME_CHARS: Final = 255
_MAX_MSGID_CHARS: Final = 32
_ESCAPED: Final = re.compile(r'(["\\\]])')  # RFC 5424 section 6.3.3
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Originator:
    """What the messages of a process have in common.

    Attributes:
        facility: a number of RFC 5424 section 6.2.1.
        hostname: this machine's name, "" if it has none.
        process_id: this process's.
    """

    facility: int
    hostname: str
    process_id: int

    def frame(self, line: bytes, sequence_id: int) -> bytes:
        """Return the message of a line without its line feed, behind its length in bytes."""
        parts = parts_of(line)
        severity, message_id = _described(parts.beginning)
        head = (
            f"<{self.facility * 8 + severity}>{_VERSION} {_timestamp(end_of(parts.end).at)} "
            f"{_field(self.hostname, _MAX_HOSTNAME_CHARS)} {APP_NAME} {self.process_id} "
            f"{message_id} {_structured_data(sequence_id)} "
        )
        message = head.encode("ascii") + _text(line)
        return b"%d %b" % (len(message), message)


def next_sequence_id(sequence_id: int) -> int:
    """Return the number of the message after this one."""
    return sequence_id % MAX_SEQUENCE_ID + 1


def escape(value: str) -> str:
    r"""Return a value of STRUCTURED-DATA, with a backslash before each ``"``, ``\`` and ``]``."""
    return _ESCAPED.sub(r"\\\1", value)


def _structured_data(sequence_id: int) -> str:
    """Return the elements whose names IANA has registered: others need an enterprise number."""
    origin = f'[origin software="{escape(APP_NAME)}" swVersion="{escape(__version__)}"]'
    return f'[meta sequenceId="{sequence_id}"]{origin}'


def _timestamp(text: str) -> str:
    return text if _TIMESTAMP.fullmatch(text) else NIL


@lru_cache(REMEMBERED)
def _described(beginning: bytes) -> tuple[int, str]:
    """Return the severity of a line, and its MSGID."""
    facts = facts_of(beginning)
    return _WARNING if facts.is_warning else _INFORMATIONAL, _message_id(facts)


def _message_id(facts: LineFacts) -> str:
    """Return the kind of the event: decision, or audit. and the kind of the clerk's line."""
    kind = f"audit.{facts.audit}" if facts.audit else "decision" if facts.decision else ""
    return _field(kind, _MAX_MSGID_CHARS)


def _field(text: str, max_chars: int) -> str:
    return _NOT_PRINTABLE.sub("?", text[:max_chars]) or NIL


def _text(line: bytes) -> bytes:
    """Return MSG (RFC 5424 section 6.4): UTF-8 begins with a BOM.

    ASCII, as nearly all lines are, needs none, and some receivers would take it for content.
    """
    return line if line.isascii() else _BOM + line
