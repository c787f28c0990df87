"""Huffman coding of header strings (RFC 7541 5.2), an octet of code at a time.

A decoder that walks the code bit by bit would cost more than everything else in a header block.
This decoder is a state machine over octets. A state is the part of a code that was read so far.
Each of its steps, by an octet, leads to a state and gives the completed symbols: two at most, since
a code has at least five bits. Making all steps would take too long at the start of a process. So a
step is made by a walk when it is first needed, and kept. There are 65,536 steps of 256 states, so
the memory is bounded: 6 MB if a client causes each step, and usually a tenth of that.
"""

from typing import Final

from authz.transports.http2.hpack.errors import CompressionError
from authz.transports.http2.hpack.huffman_code import CODES, EOS

_SYMBOLS: Final = {code: bytes([symbol]) for symbol, code in CODES.items()}
_BITS: Final = [f"{CODES[symbol]:b}"[1:] for symbol in range(256)]

# A state is the row of its steps by octet: exact lists are the fastest to index. A state's prefix
# is the part of a code that was read so far, behind a 1 that keeps its leading zeros.
_Row = list["tuple[_Row, bytes]"]
_NOWHERE: Final[_Row] = []  # the target of a step that was not made yet
_UNMADE: Final = (_NOWHERE, b"")
_ROWS: Final[dict[int, _Row]] = {}  # by prefix
_PREFIXES: Final[dict[int, int]] = {}  # by id of the row


def _row(prefix: int) -> _Row:
    row = _ROWS.setdefault(prefix, [_UNMADE] * 256)
    _PREFIXES[id(row)] = prefix
    return row


_START: Final = _row(1)
# Padding is the beginning of EOS and shorter than an octet (5.2): none, or up to seven ones.
_ENDS: Final = {id(_row((1 << ones + 1) - 1)) for ones in range(8)}


def decode(code: bytes) -> bytes:
    """Return the text. Raise CompressionError for EOS in it, and for invalid padding."""
    row = _START
    texts: list[bytes] = []
    add = texts.append
    try:
        for octet in code:
            row, symbols = row[octet]
            add(symbols)
    except IndexError:  # _NOWHERE has no steps
        row = _NOWHERE
    if id(row) in _ENDS:
        return b"".join(texts)
    return _decode_making_steps(code)


def _decode_making_steps(code: bytes) -> bytes:
    """Decode as ``decode`` does, and make the missing steps."""
    row = _START
    texts: list[bytes] = []
    for octet in code:
        step = row[octet]
        if step is _UNMADE:  # threads that race make equal steps between the same rows
            step = row[octet] = _make_step(_PREFIXES[id(row)], octet)
        row, symbols = step
        texts.append(symbols)
    if id(row) not in _ENDS:
        raise CompressionError("a string's padding is invalid")
    return b"".join(texts)


def _make_step(prefix: int, octet: int) -> tuple[_Row, bytes]:
    """Read an octet after a prefix, bit by bit."""
    symbols = b""
    for shift in range(7, -1, -1):
        prefix = prefix << 1 | octet >> shift & 1
        if prefix in _SYMBOLS:
            symbols += _SYMBOLS[prefix]
            prefix = 1
        elif prefix == EOS:
            raise CompressionError("a string contains the end-of-string symbol")
    return _row(prefix), symbols


def encode(text: bytes) -> bytes:
    """Return the code of a text, padded with ones to whole octets."""
    bits = "".join([_BITS[octet] for octet in text])
    bits += "1" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8)
