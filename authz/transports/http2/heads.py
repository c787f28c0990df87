"""Reads field blocks: decodes, checks and judges each distinct one once (RFC 9113 4.3, 8)."""

from collections.abc import Callable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.events import Field, Refused
from authz.transports.http2.faults import ConnectionFault, MalformedError
from authz.transports.http2.hpack import (
    CompressionError,
    HeaderDecoder,
    HeaderListTooLargeError,
)
from authz.transports.http2.limits import Limits
from authz.transports.http2.messages import check_trailers, content_length

T = TypeVar("T")

_Failure: TypeAlias = ConnectionFault | MalformedError


class Head(NamedTuple, Generic[T]):
    """The facts about a request from its header section.

    Attributes:
        judged: the result of ``judge``.
        content_length: the length that its content must have; None without content-length.
    """

    judged: T | Refused
    content_length: int | None


class HeadReader(Generic[T]):
    """The decoder, and the blocks that it need not decode again.

    A block means the same as long as the dynamic table is the same: all blocks are forgotten when
    the table's generation changes. Malformed sections are not remembered; they cost their sender
    more.

    Attributes:
        remembered: the blocks that were read, with their facts.
        plain: those of the remembered blocks whose requests are not refused and have no
            content-length, with the results of ``judge``: the only blocks that the fast path takes.
    """

    def __init__(self, judge: Callable[[tuple[Field, ...]], T | Refused], limits: Limits) -> None:
        """Begin with an empty table."""
        self.plain: dict[bytes, T] = {}
        self.remembered: dict[bytes, Head[T]] = {}
        self._read_ahead: tuple[bytes, Head[T] | _Failure] | None = None
        self._judge = judge
        self._limits = limits
        self._too_large: Head[T] = Head(Refused(limits.fields_too_large, is_early=True), None)
        self._decoder = HeaderDecoder(
            max_list_bytes=limits.max_list_bytes, max_fields=limits.max_fields
        )

    def peek(self, block: bytes) -> T | None:
        """Read a block for the short cut: return its value in ``plain``; None if it has none.

        After None, the long way reads this block next. The result, even an error, is kept for that,
        since a block can be decoded only once.
        """
        try:
            head = self.read(block)
        except (ConnectionFault, MalformedError) as failure:
            self._read_ahead = block, failure
            return None
        judged = head.judged
        if head.content_length is None and not isinstance(judged, Refused):
            return judged
        self._read_ahead = block, head
        return None

    def read(self, block: bytes) -> Head[T]:
        """Return the facts of a request's header section.

        Raises ConnectionFault, MalformedError.
        """
        if self._read_ahead is not None:
            return self._take_read_ahead(block)
        known = self.remembered.get(block)
        if known is not None:
            return known
        generation = self._decoder.generation
        try:
            fields = self._decode(block)
        except HeaderListTooLargeError:
            return self._too_large
        length = content_length(fields)
        head: Head[T] = Head(self._judge(fields), length)
        if self._decoder.generation == generation:
            self._remember(block, head)
        return head

    def read_trailers(self, block: bytes) -> None:
        """Check a request's trailer section. Raises ConnectionFault, MalformedError."""
        with suppress(HeaderListTooLargeError):  # nothing of trailers is used
            check_trailers(self._decode(block))

    def skip(self, block: bytes) -> None:
        """Decode an unwanted block, to keep the table correct. Raises ConnectionFault."""
        with suppress(HeaderListTooLargeError):
            self._decode(block)

    def forget(self) -> None:
        """Forget all blocks, so that each is read again."""
        self.remembered.clear()
        self.plain.clear()

    def _decode(self, block: bytes) -> tuple[Field, ...]:
        generation = self._decoder.generation
        try:
            return self._decoder.decode(block)
        except CompressionError:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "invalid field block") from None
        finally:
            if self._decoder.generation != generation:
                self.forget()

    def _take_read_ahead(self, block: bytes) -> Head[T]:
        assert self._read_ahead is not None  # noqa: S101 - read() saw it
        (read, head), self._read_ahead = self._read_ahead, None
        assert read == block, "another block was read ahead"  # noqa: S101 - see peek()
        if isinstance(head, Head):
            return head
        raise head

    def _remember(self, block: bytes, head: Head[T]) -> None:
        if len(block) > self._limits.max_remembered_bytes:
            return
        if len(self.remembered) >= self._limits.max_remembered_blocks:
            self.forget()
        self.remembered[block] = head
        judged, length = head
        if length is None and not isinstance(judged, Refused):
            self.plain[block] = judged
