"""A socket that never blocks, with TLS: what goes through it is encrypted."""

import socket
from contextlib import suppress
from typing import Final

from authz.transports.native.channel import READ_BYTES, Channel, ChannelClosedError
from authz.transports.native.loop import Loop
from authz.transports.native.tls import TlsPipe, TlsPipeError

HANDSHAKE_READ_BYTES: Final = 8 * 1024  # so that one too long is seen before it is read whole


class TlsChannel(Channel):
    """The socket of a connection with TLS."""

    def __init__(self, opened: socket.socket, loop: Loop, tls: TlsPipe, now: float) -> None:
        """Take a socket that does not block."""
        super().__init__(opened, loop, now)
        self.is_handshaking = True
        self._tls: TlsPipe | None = tls

    def receive(self, max_bytes: int = READ_BYTES) -> bytes:
        """Return what came, b"" for nothing. Raises ChannelClosedError."""
        data = super().receive(HANDSHAKE_READ_BYTES if self.is_handshaking else max_bytes)
        return self._decrypted(data) if data else data

    def _decrypted(self, data: bytes) -> bytes:
        tls = self._open_pipe()
        try:
            plain = tls.receive(data)
        except EOFError:
            self.end_output()
            raise ChannelClosedError from None
        except TlsPipeError as fault:
            self._say_goodbye()
            raise ChannelClosedError(str(fault)) from None
        if self.is_handshaking and tls.is_open:
            self.is_handshaking = False
            self.certificates = tls.peer
        return plain

    def _say_goodbye(self) -> None:
        """Send TLS's alert, if the client takes it."""
        with suppress(ChannelClosedError):
            self.flush()

    def send(self, data: bytes) -> None:
        """Write as much as the client takes, and keep the rest. Raises ChannelClosedError."""
        super().send(self._encrypted(data))

    def flush(self) -> None:
        """Write what was kept, and what TLS has to say. Raises ChannelClosedError."""
        data = self._encrypted(b"")
        if data or self.is_full:
            super().send(self._unsent + data)

    def _encrypted(self, data: bytes) -> bytes:
        try:
            return self._open_pipe().encrypt(data)
        except TlsPipeError as fault:
            raise ChannelClosedError(str(fault)) from None

    def _open_pipe(self) -> TlsPipe:
        if self._tls is None:
            raise ChannelClosedError
        return self._tls

    def end_output(self) -> None:
        """Tell the client that nothing more will come, as TLS does, and as sockets do."""
        with suppress(ChannelClosedError):
            super().send(self._open_pipe().end())
        super().end_output()

    def close(self) -> None:
        """Close the socket, and free what TLS holds: 100 KB."""
        super().close()
        self._tls = None
