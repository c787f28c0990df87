"""A connection: reads from its socket, writes to its socket, and ends in time."""

import logging
import time
from collections.abc import Callable
from typing import Final

from authz.adapters.metrics import CallEnd
from authz.transports.native.calls import LIMITS, Calls, Service
from authz.transports.native.channel import READ_BYTES, Channel, ChannelClosedError
from authz.transports.native.gate import Gate
from authz.transports.native.turns import SLICE_SECONDS

SHORT_READ_BYTES: Final = 8 * 1024  # from a client whose bytes take long: a millisecond at most
# Unread answers, beyond the system's own buffer, after which nothing more is read from a client.
MAX_UNREAD_BYTES: Final = 1024 * 1024
# A client may still be sending when its connection ends. If the socket closed at once, the client
# might not see the reason, nor its last answers.
LINGER_SECONDS: Final = 1.0
# Once the last GOAWAY is out, or a client is asked to leave for its connection's age.
GOING_SECONDS: Final = 1.0
AGE_GRACE_SECONDS: Final = 30.0
# Of the time that a client's certificate had left, after which it is asked to leave: by then it has
# a new one, which it shows on new connections alone. A part, so that a client without a new one is
# not asked again and again.
CERTIFICATE_PART: Final = 0.8
_log: Final = logging.getLogger("authz.server")


class Peer:
    """The other end of a connection.

    Attributes:
        is_gone: whether the connection is closed.
        begun: when it was opened, monotonic seconds.
        asked_at: the last sweep that saw calls of an allowed caller, monotonic seconds; 0 for none.
    """

    def __init__(
        self,
        service: Service,
        channel: Channel,
        gate: Gate,
        on_gone: Callable[["Peer"], None],
        *,
        begun: float,
        max_age: float,
    ) -> None:
        """Begin at ``begun``, monotonic seconds; ``on_gone`` is called once, at the end.

        The client is asked to leave when the connection is ``max_age`` seconds old.
        """
        self.is_gone = False
        self.begun = begun
        self.asked_at = 0.0
        self._opened = 0  # streams, at the last sweep
        self._service = service
        self._channel = channel
        self._gate = gate
        self._is_timed = False
        self._on_gone = on_gone
        self._leaves_at = begun + max_age
        self._going_since: float | None = None
        self._lingers_until: float | None = None
        self._max_read = READ_BYTES
        self._calls = Calls(service, self, gate, begun)
        self._connection = self._calls.connection

    def begin(self) -> None:
        """Send the server's preface (RFC 9113 3.4); the loop already waits for the client."""
        if not self._channel.is_handshaking:
            self.flush()

    # Called by the loop.

    def on_ready(self, _events: int, now: float) -> None:
        """Read once and answer; write what the socket did not take before."""
        channel = self._channel
        try:
            if channel.is_full:
                self.flush()
                if self.is_gone or self._is_clogged():
                    return
            if channel.is_handshaking:
                self._shake_hands(now)
            elif not self._calls.has_more:  # else it has its turns first
                self._read(now)
        except ChannelClosedError as error:
            self._lose(error)

    def _shake_hands(self, now: float) -> None:
        """Go on with TLS's handshake, in this turn or another. Raises ChannelClosedError."""
        turns = self._service.turns
        if turns.has_time_to_shake_hands(now):
            begun = time.monotonic()
            self._read(now)
            turns.handshakes_took(time.monotonic() - begun)

    def _read(self, now: float) -> None:
        """Read once, and answer. Raises ChannelClosedError.

        A client that sends what takes long to understand is read in small parts: 64 KiB of header
        blocks that differ each time, or of TLS records of a byte, take 10 ms.
        """
        begun = time.monotonic()
        data = self._channel.receive(self._max_read)
        if self._lingers_until is not None:
            return
        if data:
            calls = self._calls
            calls.identify(self._channel.certificates)
            events = self._connection.receive(data, now)
            is_long = time.monotonic() - begun > SLICE_SECONDS
            self._max_read = SHORT_READ_BYTES if is_long else READ_BYTES
            calls.take(events, now)
            if calls.has_more:
                calls.answer_for_a_slice()
        self.flush()

    def on_fault(self) -> None:
        """Close the connection after an internal error."""
        self.close()

    def on_outdated(self) -> None:
        """Take no further calls, which the client may make again elsewhere (RFC 9113 6.8).

        It may have a certificate by now that is allowed.
        """
        self.leave(time.monotonic())
        self._connection.finish_going()

    def sweep(self, now: float) -> None:
        """End what has taken too long."""
        if self._channel.is_late(now):
            if self._channel.is_full:
                self._service.metrics.call_ended(CallEnd.UNREAD)
            self.close()
            return
        if self._lingers_until is not None:
            if now >= self._lingers_until:
                self.close()
            return
        self._calls.take(self._connection.expire(now), now)
        self._note_calls(now)
        self._look_at_certificates(now)
        if now >= self._leaves_at:
            self.leave(now)
        if self._going_since is not None:
            self._go(now, self._going_since)
        self.flush()

    def _note_calls(self, now: float) -> None:
        opened = self._connection.opened
        if opened and not self.is_idle and self._calls.is_allowed:
            self.asked_at = now
        self._opened = opened

    def _look_at_certificates(self, now: float) -> None:
        """Have the client connect anew before its certificate ends, and when its CA is removed.

        That it may have made no call yet changes nothing: proxies open connections in advance.
        """
        if self.is_handshaking or (self._is_timed and not self._calls.is_allowed):
            return
        certificates = self._channel.certificates
        self._calls.identify(certificates)
        if not self._is_timed and self._calls.is_allowed:
            ends = now + CERTIFICATE_PART * self._gate.seconds_left(certificates)
            self._leaves_at = min(self._leaves_at, ends)
        self._is_timed = True

    @property
    def is_idle(self) -> bool:
        """Whether it is open, nothing is under way, and no call has come since the last sweep."""
        connection = self._connection
        return connection.is_idle and connection.opened == self._opened and not self.is_gone

    def give_way(self) -> None:
        """Close an idle connection. GOAWAY tells the client that no call on its way was taken."""
        self._connection.go_away()
        self._connection.finish_going()
        self.flush()
        self.close()

    def leave(self, now: float) -> None:
        """Ask the client to open no more calls here, and close once those under way are done."""
        if self._going_since is None:
            self._going_since = now
            self._connection.go_away()
            self.flush()

    def _go(self, now: float, since: float) -> None:
        if now - since >= GOING_SECONDS:
            self._connection.finish_going()
        if now - since >= AGE_GRACE_SECONDS:
            self.close()

    # Writing, and the end.

    @property
    def is_handshaking(self) -> bool:
        """Whether it is not known yet who the client is."""
        return self._channel.is_handshaking

    @property
    def buffered_bytes(self) -> int:
        """The bytes held for this client."""
        held = self._calls.held_bytes + self._channel.unsent_bytes
        return held + self._connection.buffered_bytes

    def flush(self) -> None:
        """Write the output, as far as the client takes it."""
        if self.is_gone:
            return
        channel, connection = self._channel, self._connection
        try:
            if not channel.is_handshaking:
                while not channel.is_full and (output := connection.take_output()):
                    channel.send(output)
                    if len(output) < LIMITS.max_output_bytes:  # nothing more may be written now
                        break
            channel.flush()
        except ChannelClosedError as error:
            self._lose(error)
            return
        if channel.is_full or not channel.only_reads:
            channel.wait(to_read=not self._is_clogged())
        if connection.is_ending and connection.is_closed and not channel.is_full:
            self._linger()

    def _is_clogged(self) -> bool:
        """Whether reading stops because the client does not read.

        Some clients write all that they have before they read: up to MAX_UNREAD_BYTES that works.
        """
        channel = self._channel
        if not channel.is_full:
            return False
        return channel.unsent_bytes + self._connection.unread_bytes > MAX_UNREAD_BYTES

    def _linger(self) -> None:
        """Close once the client has closed, or soon."""
        if self._lingers_until is not None:
            return
        self._calls.hang_up()
        fault = self._connection.fault
        if fault is not None:
            _log.warning("ended a connection: %s", fault.words)
        if self.is_handshaking:
            self.close()
            return
        self._lingers_until = time.monotonic() + LINGER_SECONDS
        self._channel.end_output()

    def _lose(self, error: ChannelClosedError) -> None:
        if error.words:
            _log.warning("ended a connection: %s", error.words)
        self.close()

    def close(self) -> None:
        """Close at once; calls under way are dropped."""
        if self.is_gone:
            return
        self.is_gone = True
        self._calls.hang_up()
        self._service.loop.forget(self._channel.descriptor)
        self._channel.close()
        self._on_gone(self)
