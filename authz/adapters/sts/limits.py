"""The limits of the token service's HTTP server, each with its reason."""

from typing import Final

# Before a client is known: what anybody who reaches the port can cost us.
CONNECTIONS: Final = 512  # at once; an agent needs one, and keeps it
# At once, with buffers of some 64 KiB each: of more the oldest ends. At the pace of accepts an
# honest client has more than a second for its handshake, however many silent ones there are.
HANDSHAKES: Final = 128
HANDSHAKES_A_SECOND: Final = 100.0  # each takes a millisecond or two of the only loop
ACCEPTED_A_SECOND: Final = 1000.0  # ten times as many, so that each source can have its turn
ARRIVALS: Final = 384  # that wait for their turn; with CONNECTIONS, below 1024 descriptors
HANDSHAKE_SECONDS: Final = 5.0
SHUTDOWN_SECONDS: Final = 1.0  # for the client's close_notify, which nobody needs
REQUEST_SECONDS: Final = 10.0  # until a request has come as a whole
ANSWER_SECONDS: Final = 30.0  # until its answer was made and read
IDLE_SECONDS: Final = 60.0  # between two requests of a connection

# Of a request. A subject token has 8 KiB at most by default, and may come with two more.
MAX_BODY_BYTES: Final = 32 * 1024
MAX_LINE_BYTES: Final = 2 * 1024
MAX_HEADER_BYTES: Final = 8 * 1024  # of one header; a DPoP proof has some 1 KiB
MAX_HEADERS: Final = 32

# Of a known client. A token lasts minutes, so that an agent asks a few times a second at most.
RATE_A_SECOND: Final = 20.0
BURST: Final = 100.0
IN_FLIGHT: Final = 64  # token requests at once, in all
IN_FLIGHT_OF_AGENT: Final = 16  # so that one agent leaves three quarters to the others
THREADS: Final = 4  # that verify and sign; more only take the interpreter from each other
RETRY_SECONDS: Final = 1  # what Retry-After tells a client that is too fast
