"""Our own transport: HTTP/2 and gRPC served from one thread, for unix sockets, TCP and TLS.

The laws of this package:

1. One thread, the loop, reads, answers and writes. It never waits for a client, for a lock that is
   held for long, or for another system; what must wait goes to the pool's threads.
2. A remembered decision is answered where it is read, and the answers of one read are written
   together. A check that must be decided waits in the backlog, which gets a slice of time between
   two polls: new decisions never hold up remembered ones.
3. A turn reads once from each connection, and answers for a slice of time (``turns``). Handshakes
   and the backlog take turns by connection too, so no client waits for another's flood.
4. Nothing that a client does ends the loop. A fault of ours ends the connection that met it.
"""

from authz.transports.native.transport import NativeTransport, contexts_of

__all__ = ["NativeTransport", "contexts_of"]
